//! What becomes of secrets: they are hashed before anything is stored.

use serde_json::Value as Json;
use sha_crypt::{PasswordHasher, PasswordVerifier, ShaCrypt};

use crate::domain::{
    Argument, Catalogue, FieldType, OperationSpec, Params, Reason, Refusal, argument_mut,
    arguments_of,
};

/// How a stored secret is marked: `{"hashed": "$6$…"}`.
pub const HASHED: &str = "hashed";

/// Turns the secrets among checked parameters into hashes, at any depth. Slow on purpose: some
/// milliseconds a secret.
///
/// # Errors
/// When the box has no randomness to give.
pub fn seal(
    spec: &OperationSpec,
    params: &mut Params,
    catalogue: &Catalogue,
) -> Result<(), Refusal> {
    let mut hashes = Vec::new();
    for Argument { path, value, .. } in open_secrets(spec, params, catalogue) {
        hashes.push((path, hash(value.as_str().unwrap_or_default())?));
    }
    for (path, hash) in hashes {
        if let Some(secret) = argument_mut(params, &path) {
            *secret = serde_json::json!({ HASHED: hash });
        }
    }
    Ok(())
}

/// Replaces the secrets among checked parameters by hashes of nothing: for those who only look at
/// what a request would do, and might show it.
pub fn blank(spec: &OperationSpec, params: &mut Params, catalogue: &Catalogue) {
    let secrets = open_secrets(spec, params, catalogue);
    let paths: Vec<String> = secrets.map(|secret| secret.path).collect();
    for path in paths {
        if let Some(secret) = argument_mut(params, &path) {
            *secret = serde_json::json!({ HASHED: "" });
        }
    }
}

/// Whether any parameter still holds a secret as it was given.
#[must_use]
pub fn has_open_secret(spec: &OperationSpec, params: &Params, catalogue: &Catalogue) -> bool {
    open_secrets(spec, params, catalogue).next().is_some()
}

fn open_secrets<'a>(
    spec: &'a OperationSpec,
    params: &'a Params,
    catalogue: &'a Catalogue,
) -> impl Iterator<Item = Argument<'a>> {
    let wanted = |of: &FieldType| matches!(of, FieldType::Secret { .. });
    let secrets = arguments_of(&spec.fields, params, Some(catalogue), wanted);
    secrets.into_iter().filter(|secret| secret.value.is_string())
}

/// Whether a secret, as it is given, is the one that was hashed.
#[must_use]
pub fn opens(given: &Json, sealed: &Params) -> bool {
    let secret = match given {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => return false,
    };
    let hashed = sealed.get(HASHED).and_then(Json::as_str).unwrap_or_default();
    ShaCrypt::default().verify_password(secret.as_bytes(), hashed).is_ok()
}

/// SHA-512 crypt, which every guest's `crypt(3)` reads.
fn hash(secret: &str) -> Result<String, Refusal> {
    // `crypt(3)` takes at most 16 characters of salt and leaves the rest out of the hash it
    // compares with, so that a longer salt locks everybody out. 12 bytes are 16 characters.
    let salt = uuid::Uuid::new_v4();
    let hashed =
        ShaCrypt::default().hash_password_with_salt(secret.as_bytes(), &salt.as_bytes()[..12]);
    hashed.map(|hash| hash.to_string()).map_err(|error| {
        Refusal::new(Reason::Value, format!("the password cannot be hashed: {error}"))
    })
}

/// Whether an object is a secret as it is stored.
#[must_use]
pub fn is_sealed(object: &Params) -> bool {
    object.len() == 1 && object.get(HASHED).and_then(Json::as_str).is_some_and(is_crypt)
}

/// Whether a text is a hash as [`hash`] makes them: `$6$`, perhaps the rounds, the salt, the hash.
fn is_crypt(text: &str) -> bool {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let is_64 = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c));
    let parts: Vec<&str> = text.split('$').collect();
    let (salt, hash) = match parts.as_slice() {
        ["", "6", salt, hash] => (salt, hash),
        ["", "6", rounds, salt, hash] if rounds.strip_prefix("rounds=").is_some_and(digits) => {
            (salt, hash)
        }
        _ => return false,
    };
    (1..=16).contains(&salt.len()) && is_64(salt) && hash.len() == 86 && is_64(hash)
}
