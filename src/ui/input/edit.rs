//! Editing a line of text: which keys do what in every input of the console.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input, InputRequest as Request};

/// Lets a key edit the line. Returns whether it meant anything there.
pub fn edit(input: &mut Input, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let request = match key.code {
        KeyCode::Char('a') if control => Request::GoToStart,
        KeyCode::Char('e') if control => Request::GoToEnd,
        KeyCode::Char('u') if control => Request::DeleteLine,
        KeyCode::Char('k') if control => Request::DeleteTillEnd,
        KeyCode::Char('w') if control => Request::DeletePrevWord,
        KeyCode::Char('h') if control => Request::DeletePrevChar,
        KeyCode::Char('d') if control => Request::DeleteNextChar,
        KeyCode::Char('b') if alt => Request::GoToPrevWord,
        KeyCode::Char('f') if alt => Request::GoToNextWord,
        KeyCode::Char(character) if !control && !alt && !character.is_control() => {
            Request::InsertChar(character)
        }
        KeyCode::Backspace if control || alt => Request::DeletePrevWord,
        KeyCode::Backspace => Request::DeletePrevChar,
        KeyCode::Delete => Request::DeleteNextChar,
        KeyCode::Left if control || alt => Request::GoToPrevWord,
        KeyCode::Right if control || alt => Request::GoToNextWord,
        KeyCode::Left => Request::GoToPrevChar,
        KeyCode::Right => Request::GoToNextChar,
        KeyCode::Home => Request::GoToStart,
        KeyCode::End => Request::GoToEnd,
        _ => return false,
    };
    input.handle(request);
    true
}

/// Puts pasted text in; its line ends become spaces and other control characters vanish.
pub fn paste(input: &mut Input, text: &str) {
    for character in text.trim_end_matches(['\r', '\n']).chars() {
        let character = if matches!(character, '\n' | '\r' | '\t') { ' ' } else { character };
        if !character.is_control() {
            input.handle(Request::InsertChar(character));
        }
    }
}
