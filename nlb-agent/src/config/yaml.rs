use std::fmt;

use serde::Deserialize;

/// What is wrong in a YAML file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub file: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// The path of the field, like `servers[1].weight`; empty where the document as a whole is wrong.
    pub field: String,
    /// What is wrong, the value, and what is allowed.
    pub message: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, message } = self;
        f.write_str(file)?;
        if let Some(line) = line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)
    }
}

impl std::error::Error for Located {}

/// Reads one document of `file`.
pub(super) fn document<'de, T: Deserialize<'de>>(
    file: &str,
    document: serde_yaml::Deserializer<'de>,
) -> Result<T, Located> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let cause = error.into_inner();
        let location = cause.location();
        let message = without_place(cause.to_string(), location.as_ref());
        let message = without_path(&message, &path).to_owned();
        Located { file: file.to_owned(), line: location.map(|place| place.line()), field: path, message }
    })
}

/// The library appends the place to its message.
fn without_place(mut message: String, place: Option<&serde_yaml::Location>) -> String {
    if let Some(place) = place {
        let place = format!(" at line {} column {}", place.line(), place.column());
        message.truncate(message.strip_suffix(&place).unwrap_or(&message).len());
    }
    message
}

/// The library puts the path in front of its message, or that of the parent, if a field is missing or
/// unknown.
fn without_path<'a>(message: &'a str, path: &str) -> &'a str {
    let mut prefix = path;
    while !prefix.is_empty() {
        if let Some(rest) = message.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(": ")) {
            return rest;
        }
        prefix = &prefix[..prefix.rfind(['.', '[']).unwrap_or(0)];
    }
    message
}
