//! What strangers call a model. Some servers call theirs by where it lies, which is its operator's business.

/// Whether a name says where the model lies.
fn is_path(model: &str) -> bool {
    let starts = ["/", "\\", "~", "./", "../"].iter().any(|start| model.starts_with(start));
    let has_drive = matches!(model.get(1..3), Some(":\\" | ":/"));
    // `org/model` is the name of a model on the hub; a file of weights in a folder is none.
    let is_file = model.ends_with(".gguf") && model.contains(['/', '\\']);
    starts || has_drive || is_file
}

/// The name that a model goes by in the market: of one that its server calls by where it lies, the file's name alone.
pub fn market_name(model: &str) -> &str {
    if !is_path(model) {
        return model;
    }
    let file = model.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("model");
    file.strip_suffix(".gguf").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_not_called_by_where_it_lies() {
        for path in [
            "/home/ann/tiny.gguf",
            r"C:\models\tiny.gguf",
            "D:/models/tiny",
            "~/tiny/",
            "/srv/tiny",
            r"\\nas\tiny",
            "./tiny.gguf",
            "../up/tiny",
            "models/tiny.gguf",
        ] {
            assert_eq!(market_name(path), "tiny", "{path}");
        }
        assert_eq!(market_name("/"), "model");
        for name in ["qwen3:4b", "org/model", "m.gguf", "é", ""] {
            assert_eq!(market_name(name), name);
        }
    }
}
