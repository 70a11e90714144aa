use std::io::{self, Read as _};

use nlb_proto::v1::{ApplyRequest, Change, Kind, Manifest, change::Action};

use super::{agent::Agent, error::Error, manifest::spelled, screen::Screen};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of manifests, or - for standard input; may be given several times.
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// Applies all files in one request, and writes a line per resource.
pub(super) async fn run(agent: &Agent, args: &Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let mut manifests = Vec::new();
    for file in &args.files {
        let text = read(file)?;
        // How the agent's errors name it: `stdin:3: ...`.
        manifests.extend(split(if file == "-" { "stdin" } else { file }, text));
    }
    let request = ApplyRequest { resources: Vec::new(), manifests };
    let changes = agent.answer(agent.manifests().apply(request)).await?.changes;
    if changes.is_empty() {
        return Err(Error::NothingToApply { files: args.files.join(", ") });
    }
    for Change { kind, name, action } in changes {
        let kind = spelled(kind, Kind::as_str_name).unwrap_or_default().replace('_', "-");
        let action = spelled(action, Action::as_str_name).unwrap_or_default();
        screen.line(format!("{kind}/{name} {action}"))?;
    }
    Ok(())
}

fn read(file: &str) -> Result<String, Error> {
    let text = if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|source| Error::Read { file: file.to_owned(), source })
}

/// A list, which `get -o json` writes, is as good as its items one by one; anything else is the agent's to read.
fn split(file: &str, text: String) -> Vec<Manifest> {
    let list = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<serde_json::Value>>(&text).ok()
    } else {
        None
    };
    match list {
        Some(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| Manifest { file: format!("{file}[{index}]"), yaml: item.to_string() })
            .collect(),
        None => vec![Manifest { file: file.to_owned(), yaml: text }],
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn only_json_lists_are_split() {
        let texts = |text: &str| -> Vec<(String, String)> {
            split("f", text.to_owned()).into_iter().map(|manifest| (manifest.file, manifest.yaml)).collect()
        };
        let whole = |text: &str| vec![("f".to_owned(), text.to_owned())];
        assert_eq!(
            texts("kind: Listener\n---\nkind: Listener\n"),
            whole("kind: Listener\n---\nkind: Listener\n")
        );
        assert_eq!(texts("{\"kind\": 1}"), whole("{\"kind\": 1}"));
        assert_eq!(texts("[{broken"), whole("[{broken"));
        assert_eq!(
            texts(" [{\"kind\": 1}, {\"kind\": 2}]"),
            [("f[0]".to_owned(), "{\"kind\":1}".to_owned()), ("f[1]".to_owned(), "{\"kind\":2}".to_owned())]
        );
    }
}
