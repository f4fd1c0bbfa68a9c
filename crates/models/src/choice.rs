//! Which files of a repository or a folder make a model: one GGUF, in parts or whole, or all that MLX reads.
//!
//! Weights in Python's pickle form are never taken: reading such a file runs whatever its maker put into it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{hub::Listed, manifest::Format, room::shown};

/// How files end whose reading runs code.
const PICKLES: [&str; 6] = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"];
/// What MLX reads beside weights, and what a license asks to go with them.
const BESIDE: [&str; 6] = [".json", ".jinja", ".txt", ".tiktoken", "tokenizer.model", "license"];
/// The largest file beside weights: a vocabulary.
const LARGEST_BESIDE: u64 = 200_000_000;
/// The most files of a model: far above any.
const MOST_FILES: usize = 1_000;
/// How many models are listed in an error.
const MOST_LISTED: usize = 40;

/// The files of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// How it is stored.
    pub format: Format,
    /// Such as `Q4_K_M`, if its name says so.
    pub quantization: Option<String>,
    /// What it is called where it comes from.
    pub called: String,
    /// Its files; of one in parts the first first.
    pub files: Vec<Listed>,
}

impl Chosen {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    fn label(&self) -> String {
        let name = self.files.first().map_or(self.called.as_str(), |file| file.path.as_str());
        let parts =
            if self.files.len() > 1 { format!(" in {} parts", self.files.len()) } else { String::new() };
        let quantization = self.quantization.as_deref().unwrap_or("-");
        format!("{quantization:<10}  {:>8}  {name}{parts}", shown(self.size()))
    }
}

/// Why no model was chosen. Nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// There are several.
    #[error("there are several models:\n{0}; name one by its quantization or its file, as in {1}")]
    Several(String, String),
    /// None is what was asked for.
    #[error("none of the models is {wanted:?}; there are:\n{list}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// What there is.
        list: String,
    },
    /// There are only weights whose reading runs code.
    #[error(
        "its weights are in Python's pickle form ({0}), which runs code of their maker when it is read, so they are \
         never taken; look for the same model as GGUF or safetensors"
    )]
    Pickle(String),
    /// A part is missing.
    #[error("{called} has {found} of its {parts} parts; look for another, or tell its maker")]
    Parts {
        /// Which.
        called: String,
        /// Parts that are there.
        found: usize,
        /// Parts that should be.
        parts: usize,
    },
    /// There are too many files.
    #[error("it has {0} files, and no model has more than {MOST_FILES}; look for the same model elsewhere")]
    Many(usize),
    /// Some disks cannot tell two files apart.
    #[error(
        "{0} is in it twice, in capitals and not, which some disks do not tell apart; look for the same model \
         elsewhere"
    )]
    Alike(String),
    /// Weights without what says how they are read.
    #[error("there are weights and no config.json, which MLX needs; look for the same model in MLX's form")]
    NoConfig,
    /// No weights at all.
    #[error(
        "there is no model in it: no .gguf and no .safetensors; look for a repository of the model as GGUF"
    )]
    Nothing,
}

/// The model that is meant: by `choice`, or the only one there is. `place` is what repository or folder it is in.
///
/// # Errors
/// There are several, or none that may be taken.
pub fn choose(place: &str, files: &[Listed], choice: Option<&str>) -> Result<Chosen, ChoiceError> {
    let chosen = one(place, files, choice)?;
    if chosen.files.len() > MOST_FILES {
        return Err(ChoiceError::Many(chosen.files.len()));
    }
    let mut seen = BTreeSet::new();
    match chosen.files.iter().find(|file| !seen.insert(file.path.as_str().to_lowercase())) {
        Some(twice) => Err(ChoiceError::Alike(twice.path.to_string())),
        None => Ok(chosen),
    }
}

fn one(place: &str, files: &[Listed], choice: Option<&str>) -> Result<Chosen, ChoiceError> {
    let (ggufs, cut) = ggufs(files);
    if let Some(wanted) = choice {
        return named(place, files, (&ggufs, &cut), wanted);
    }
    match ggufs.as_slice() {
        [only] => Ok(only.clone()),
        [] => cut.first().map_or_else(|| folder(place, files), |cut| Err(cut.reason())),
        several => {
            let example = several.iter().find_map(|it| it.quantization.clone());
            let example = format!("{place}:{}", example.as_deref().unwrap_or("FILE.gguf"));
            Err(ChoiceError::Several(list(several), example))
        }
    }
}

fn named(
    place: &str,
    files: &[Listed],
    (ggufs, cut): (&[Chosen], &[Cut]),
    wanted: &str,
) -> Result<Chosen, ChoiceError> {
    let lower = wanted.to_ascii_lowercase();
    if PICKLES.iter().any(|end| lower.ends_with(end)) {
        return Err(ChoiceError::Pickle(wanted.into()));
    }
    if lower == "safetensors" {
        return folder(place, files);
    }
    let found: Vec<&Chosen> = ggufs.iter().filter(|it| is_meant(it, &lower)).collect();
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(match cut.iter().find(|cut| is_meant(&cut.there, &lower)) {
            Some(cut) => cut.reason(),
            None => ChoiceError::Unknown { wanted: wanted.into(), list: list(ggufs) },
        }),
        several => {
            let several: Vec<Chosen> = several.iter().map(|it| (*it).clone()).collect();
            Err(ChoiceError::Several(list(&several), format!("{place}:FILE.gguf")))
        }
    }
}

/// Whether a model is called so: by its file, any of its parts, its quantization, or the end of its name.
fn is_meant(it: &Chosen, lower: &str) -> bool {
    let is_file = |file: &Listed| {
        file.path.as_str().eq_ignore_ascii_case(lower) || file.path.file_name().eq_ignore_ascii_case(lower)
    };
    let called = it.called.to_ascii_lowercase();
    let ends = called.strip_suffix(lower).is_some_and(|rest| rest.ends_with(['-', '.']) || rest.is_empty());
    let quantization = it.quantization.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(lower));
    quantization || ends || it.files.iter().any(is_file)
}

fn list(all: &[Chosen]) -> String {
    let mut lines: Vec<String> = all.iter().take(MOST_LISTED).map(|it| format!("  {}", it.label())).collect();
    if all.len() > MOST_LISTED {
        lines.push(format!("  and {} more", all.len() - MOST_LISTED));
    }
    if lines.is_empty() { "  none as GGUF".into() } else { lines.join("\n") }
}

/// A model in parts of which some are missing.
struct Cut {
    there: Chosen,
    parts: usize,
}

impl Cut {
    fn reason(&self) -> ChoiceError {
        let Self { there, parts } = self;
        ChoiceError::Parts { called: there.called.clone(), found: there.files.len(), parts: *parts }
    }
}

/// Every model in GGUF, its parts together, those that are whole first. What belongs to a model and is none
/// (projectors, matrices) is left out.
fn ggufs(files: &[Listed]) -> (Vec<Chosen>, Vec<Cut>) {
    let is_model = |file: &&Listed| {
        let name = file.path.file_name().to_ascii_lowercase();
        file.path.ends_with(".gguf") && !name.contains("mmproj") && !name.contains("imatrix")
    };
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    for ((stem, parts), mut files) in grouped(files.iter().filter(is_model), ".gguf") {
        let called = stem.rsplit('/').next().unwrap_or(&stem).to_owned();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let is_cut = parts > 0 && files.len() != parts;
        let there = Chosen { format: Format::Gguf, quantization: quantization(&called), called, files };
        if is_cut {
            cut.push(Cut { there, parts });
        } else {
            whole.push(there);
        }
    }
    (whole, cut)
}

/// Files by what they are called without the number of their part, and how many parts there should be: none of one
/// that is whole. One whole and one in parts are two, though they are called alike.
fn grouped<'a>(files: impl Iterator<Item = &'a Listed>, end: &str) -> BTreeMap<(String, usize), Vec<Listed>> {
    let mut groups: BTreeMap<(String, usize), Vec<Listed>> = BTreeMap::new();
    for file in files {
        let stem = &file.path.as_str()[..file.path.as_str().len() - end.len()];
        let (stem, parts) = part_of(stem).map_or((stem, 0), |(stem, _, parts)| (stem, parts));
        groups.entry((stem.to_owned(), parts)).or_default().push(file.clone());
    }
    groups
}

/// A part's name, which it is, and how many there are: `m-00001-of-00003`.
pub(crate) fn part_of(stem: &str) -> Option<(&str, usize, usize)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (called, at) = rest.rsplit_once('-')?;
    let number = |text: &str| text.parse().ok().filter(|_| text.len() == 5);
    let (at, of): (usize, usize) = (number(at)?, number(of)?);
    (1..=of).contains(&at).then_some((called, at, of))
}

/// The quantization at the end of a name: `Q4_K_M` of `Llama-3.2-1B-Instruct-Q4_K_M`.
fn quantization(called: &str) -> Option<String> {
    let starts = called.match_indices(['-', '.', '_']).map(|(at, mark)| at + mark.len());
    std::iter::once(0)
        .chain(starts)
        .map(|at| called[at..].to_ascii_uppercase())
        .find(|end| is_quantization(end))
}

fn is_quantization(text: &str) -> bool {
    let is_plain = text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let numbered = ["IQ", "TQ", "Q"].iter().find_map(|start| text.strip_prefix(start));
    let is_numbered = numbered.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_float = matches!(text, "F16" | "BF16" | "FP16" | "F32" | "FP32" | "F64");
    is_plain && (is_numbered || is_float || text.starts_with("MXFP4"))
}

/// All that MLX reads, at the top of a repository.
fn folder(place: &str, files: &[Listed]) -> Result<Chosen, ChoiceError> {
    let top = |file: &&Listed| !file.path.as_str().contains('/');
    let mut weights: Vec<&Listed> =
        files.iter().filter(top).filter(|file| file.path.ends_with(".safetensors")).collect();
    if weights.iter().any(|file| file.path.as_str().starts_with("model")) {
        // The same weights once more, in another program's form.
        weights.retain(|file| !file.path.as_str().starts_with("consolidated"));
    }
    if weights.is_empty() {
        return Err(none(files));
    }
    for ((called, parts), files) in grouped(weights.iter().copied(), ".safetensors") {
        if parts > 0 && files.len() != parts {
            return Err(ChoiceError::Parts { called, found: files.len(), parts });
        }
    }
    if !files.iter().any(|file| file.path.as_str() == "config.json") {
        return Err(ChoiceError::NoConfig);
    }
    let is_beside =
        |file: &&Listed| file.size <= LARGEST_BESIDE && BESIDE.iter().any(|end| file.path.ends_with(end));
    let mut chosen: Vec<Listed> = weights.into_iter().cloned().collect();
    chosen.extend(files.iter().filter(top).filter(is_beside).cloned());
    chosen.sort_by(|a, b| a.path.cmp(&b.path));
    let called = place.rsplit('/').next().unwrap_or(place).to_owned();
    let quantization = bits(&called);
    Ok(Chosen { format: Format::Safetensors, quantization, called, files: chosen })
}

/// How MLX's models say their quantization: `4bit`, `8bit`, `bf16`.
fn bits(called: &str) -> Option<String> {
    let words = called.split(['-', '_', '.']).map(str::to_ascii_lowercase);
    let is_bits = |word: &String| {
        let number = word.strip_suffix("bit");
        number.is_some_and(|number| number.parse::<u8>().is_ok())
            || matches!(word.as_str(), "bf16" | "fp16" | "f16" | "mxfp4")
    };
    words.rev().find(is_bits)
}

fn none(files: &[Listed]) -> ChoiceError {
    let pickles = files.iter().filter(|file| PICKLES.iter().any(|end| file.path.ends_with(end)));
    let names: Vec<&str> = pickles.map(|file| file.path.as_str()).take(3).collect();
    if names.is_empty() { ChoiceError::Nothing } else { ChoiceError::Pickle(names.join(", ")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn files(names: &[&str]) -> Vec<Listed> {
        let file = |name: &&str| Listed { path: name.parse().unwrap(), size: 1_000_000, known: None };
        names.iter().map(file).collect()
    }

    /// The chosen files, or a word of why there are none.
    fn chosen(names: &[&str], choice: Option<&str>) -> Result<Vec<String>, String> {
        let chosen = choose("o/r", &files(names), choice).map_err(|error| error.to_string())?;
        Ok(chosen.files.iter().map(|file| file.path.to_string()).collect())
    }

    #[test]
    fn a_quantization_or_a_file_names_one_gguf_with_all_its_parts() {
        let repository = [
            "README.md",
            "M-Q4_K_M.gguf",
            "M-Q8_0.gguf",
            "M-UD-Q4_K_XL.gguf",
            "mmproj-M-f16.gguf",
            "big/M-BF16-00002-of-00002.gguf",
            "big/M-BF16-00001-of-00002.gguf",
        ];
        for (choice, expected) in [
            ("q4_k_m", &["M-Q4_K_M.gguf"][..]),
            ("M-Q8_0.gguf", &["M-Q8_0.gguf"]),
            ("UD-Q4_K_XL", &["M-UD-Q4_K_XL.gguf"]),
            ("bf16", &["big/M-BF16-00001-of-00002.gguf", "big/M-BF16-00002-of-00002.gguf"]),
            (
                "M-BF16-00002-of-00002.gguf",
                &["big/M-BF16-00001-of-00002.gguf", "big/M-BF16-00002-of-00002.gguf"],
            ),
        ] {
            assert_eq!(chosen(&repository, Some(choice)).unwrap(), expected, "{choice}");
        }
        for (choice, words) in [
            (None, &["several models", "Q4_K_M", "1.0 MB", "in 2 parts", "o/r:"][..]),
            (Some("K_M"), &["none of the models is \"K_M\"", "Q8_0"]),
            (Some("model.bin"), &["pickle"]),
            (Some("safetensors"), &["no .gguf and no .safetensors"]),
        ] {
            let error = chosen(&repository, choice).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        assert_eq!(chosen(&["a.md", "m.gguf"], None).unwrap(), ["m.gguf"]);
        assert!(chosen(&["m-00001-of-00002.gguf"], None).unwrap_err().contains("1 of its 2 parts"));
    }

    #[test]
    fn what_is_incomplete_or_cannot_be_kept_apart_is_refused_and_hinders_no_other() {
        let repository = ["M-Q4_0.gguf", "M-Q8_0-00001-of-00002.gguf"];
        assert_eq!(chosen(&repository, Some("Q4_0")).unwrap(), ["M-Q4_0.gguf"]);
        assert_eq!(chosen(&repository, None).unwrap(), ["M-Q4_0.gguf"]);
        for choice in ["Q8_0", "M-Q8_0-00001-of-00002.gguf"] {
            assert!(chosen(&repository, Some(choice)).unwrap_err().contains("1 of its 2 parts"), "{choice}");
        }
        let shards = ["model-00002-of-00002.safetensors", "config.json"];
        assert!(chosen(&shards, None).unwrap_err().contains("1 of its 2 parts"));
        let alike = ["model.safetensors", "config.json", "Config.json"];
        assert!(chosen(&alike, None).unwrap_err().contains("do not tell apart"));
        let many: Vec<String> = (0..1_000).map(|at| format!("{at}.json")).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.extend(["config.json", "model.safetensors"]);
        assert!(chosen(&many, None).unwrap_err().contains("1002 files"));
    }

    #[test]
    fn a_folder_for_mlx_is_all_it_reads_and_no_code_of_its_makers() {
        let repository = [
            "README.md",
            "LICENSE",
            "config.json",
            "modeling.py",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
            "original/x.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer.model",
            "merges.txt",
        ];
        let expected = [
            "LICENSE",
            "config.json",
            "merges.txt",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "tokenizer.json",
            "tokenizer.model",
        ];
        assert_eq!(chosen(&repository, None).unwrap(), expected);
        assert!(chosen(&["model.safetensors"], None).unwrap_err().contains("config.json"));
        assert!(chosen(&["pytorch_model.bin", "config.json"], None).unwrap_err().contains("runs code"));
        assert!(chosen(&["README.md"], None).unwrap_err().contains("no model in it"));
        assert_eq!(bits("Llama-3.2-1B-Instruct-4bit").as_deref(), Some("4bit"));
    }

    #[test]
    fn a_quantization_is_read_off_the_end_of_a_name() {
        for (called, expected) in [
            ("Llama-3.2-1B-Instruct-Q4_K_M", Some("Q4_K_M")),
            ("tinyllama-1.1b.q8_0", Some("Q8_0")),
            ("m-IQ2_XXS", Some("IQ2_XXS")),
            ("m_f16", Some("F16")),
            ("gpt-oss-20b-MXFP4", Some("MXFP4")),
            ("Qwen3-8B", None),
            ("Qwen3", None),
        ] {
            assert_eq!(quantization(called).as_deref(), expected, "{called}");
        }
    }
}
