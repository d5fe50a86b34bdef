//! What a catalogue entry says of a request.

use serde_json::json;

use super::*;

#[test]
fn a_flag_with_which_something_is_lost_makes_a_request_destructive() {
    let output = Field::optional("output", FieldType::Flag, false, "The file too.");
    let spec = OperationSpec {
        risk: Risk::Disruptive,
        warning: "It is forgotten.".into(),
        fields: vec![output.destructive("The file is lost.")],
        ..OperationSpec::default()
    };
    for (params, hazard) in [
        (json!({}), (Risk::Disruptive, "It is forgotten.")),
        (json!({ "output": false }), (Risk::Disruptive, "It is forgotten.")),
        (json!({ "output": true }), (Risk::Destructive, "The file is lost.")),
    ] {
        assert_eq!(spec.hazard(params.as_object().unwrap()), hazard, "{params}");
    }
}
