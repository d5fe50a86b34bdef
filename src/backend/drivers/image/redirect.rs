//! Where a server may send us on to.

use reqwest::redirect::{Action, Attempt};

/// How many redirects are followed.
const HOPS: usize = 10;

/// Follows a redirect, unless there is no end of them or it leads to where others can read and
/// change what comes. Anything but HTTP is refused by the client itself.
pub(super) fn follow(attempt: Attempt<'_>) -> Action {
    let from = attempt.previous();
    if from.len() > HOPS {
        return attempt.error(format!("it was redirected more than {HOPS} times"));
    }
    if from.last().is_some_and(|from| is_downgrade(from.scheme(), attempt.url().scheme())) {
        return attempt.error("it was redirected from https to http");
    }
    attempt.follow()
}

fn is_downgrade(from: &str, to: &str) -> bool {
    from == "https" && to != "https"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_encrypted_goes_on_encrypted() {
        assert!(is_downgrade("https", "http"));
        assert!(!is_downgrade("https", "https"));
        assert!(!is_downgrade("http", "https"));
        assert!(!is_downgrade("http", "http"));
    }
}
