//! Exceptions: the outermost and the innermost of a chain as columns, all of it as `details`.

use serde_json::{Map, Value, json};

use super::{
    envelope::{Item, Refusal},
    rows::{Columns, copied, severity},
};

/// The columns of an exception's row.
pub(super) fn exception_columns(item: &Item) -> Result<Columns, Refusal> {
    let chain: &[Value] = item.fields.get("exceptions").and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let mut columns = copied(item, &[("handledAt", "handledAt"), ("problemId", "problemId")]);
    if let Some(level) = severity(item)? {
        columns.insert("severityLevel".to_owned(), json!(level));
    }
    let (Some(outer), Some(innermost)) = (chain.first(), chain.last()) else { return Ok(columns) };
    let mut set = |column: &str, text: Option<&str>| {
        if let Some(text) = text {
            columns.insert(column.to_owned(), json!(text));
        }
    };
    for (column, field) in
        [("type", "typeName"), ("outerType", "typeName"), ("message", "message"), ("outerMessage", "message")]
    {
        set(column, outer[field].as_str());
    }
    set("innermostType", innermost["typeName"].as_str());
    set("innermostMessage", innermost["message"].as_str());
    for (column, field) in
        [("method", "method"), ("assembly", "assembly"), ("outerMethod", "method"), ("outerAssembly", "assembly")]
    {
        set(column, frame(outer, field));
    }
    set("innermostMethod", frame(innermost, "method"));
    set("innermostAssembly", frame(innermost, "assembly"));
    if !columns.contains_key("problemId") {
        columns.insert("problemId".to_owned(), json!(problem(innermost)));
    }
    columns.insert("details".to_owned(), chain.iter().map(detail).collect());
    Ok(columns)
}

/// A field of the frame where an exception was thrown.
fn frame<'a>(exception: &'a Value, field: &str) -> Option<&'a str> {
    exception["parsedStack"].get(0)?.get(field)?.as_str()
}

/// What makes two exceptions the same problem: type and place.
fn problem(exception: &Value) -> String {
    let kind = exception["typeName"].as_str().unwrap_or_default();
    frame(exception, "method").map_or_else(|| kind.to_owned(), |method| format!("{kind} at {method}"))
}

/// An exception as `details` has it: ids are texts, and the names are the service's.
fn detail(exception: &Value) -> Value {
    let mut detail = Map::new();
    for (name, value) in exception.as_object().into_iter().flatten() {
        let (name, value) = match (name.as_str(), value) {
            ("typeName", value) => ("type", value.clone()),
            ("stack", value) => ("rawStack", value.clone()),
            ("id" | "outerId", Value::Number(number)) => (name.as_str(), json!(number.to_string())),
            (name, value) => (name, value.clone()),
        };
        detail.insert(name.to_owned(), value);
    }
    Value::Object(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(fields: Value) -> Value {
        let Value::Object(fields) = fields else { panic!("an object") };
        json!(exception_columns(&Item { kind: "ExceptionData".to_owned(), fields }).unwrap())
    }

    #[test]
    fn a_chain_has_its_ends_as_columns_and_all_of_it_as_details() {
        let stack =
            |method: &str| json!([{"level": 0, "method": method, "assembly": format!("{method}.dll"), "line": 7}]);
        let row = columns(json!({
            "severityLevel": "Error",
            "exceptions": [
                {"id": 1, "outerId": 0, "typeName": "Outer", "message": "o", "hasFullStack": true, "parsedStack": stack("A")},
                {"id": 2, "outerId": 1, "typeName": "Middle", "message": "m"},
                {"id": 3, "outerId": 2, "typeName": "Inner", "message": "i", "stack": "at B", "parsedStack": stack("B")},
            ],
        }));
        let wanted = json!({
            "severityLevel": 3, "type": "Outer", "outerType": "Outer", "message": "o", "outerMessage": "o",
            "innermostType": "Inner", "innermostMessage": "i", "method": "A", "assembly": "A.dll", "outerMethod": "A",
            "outerAssembly": "A.dll", "innermostMethod": "B", "innermostAssembly": "B.dll", "problemId": "Inner at B",
            "details": [
                {"id": "1", "outerId": "0", "type": "Outer", "message": "o", "hasFullStack": true, "parsedStack": stack("A")},
                {"id": "2", "outerId": "1", "type": "Middle", "message": "m"},
                {"id": "3", "outerId": "2", "type": "Inner", "message": "i", "rawStack": "at B", "parsedStack": stack("B")},
            ],
        });
        assert_eq!(row, wanted);
    }

    #[test]
    fn one_exception_without_a_stack_is_outermost_and_innermost() {
        let row = columns(json!({"exceptions": [{"typeName": "E", "message": "m"}], "problemId": "p"}));
        assert_eq!(
            (&row["outerType"], &row["innermostType"], &row["problemId"]),
            (&json!("E"), &json!("E"), &json!("p"))
        );
        assert_eq!(row.get("method"), None);
        assert_eq!(columns(json!({"exceptions": []})), json!({}));
    }
}
