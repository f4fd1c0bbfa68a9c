//! Recipes: what a tool is for, how it is called and how much it may use. Shipped ones are files beside this
//! crate's sources; an operator's own are written the same way in `config.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use openagents_types::JobKind;
use serde::{Deserialize, Serialize};

/// The recipes of this build, by name, in the order `doctor` prints them.
pub const RECIPES: &[(&str, &str)] = &[
    ("espeak-ng", include_str!("../../recipes/espeak-ng.toml")),
    ("ffmpeg", include_str!("../../recipes/ffmpeg.toml")),
    ("clamav", include_str!("../../recipes/clamav.toml")),
    ("tesseract", include_str!("../../recipes/tesseract.toml")),
];

/// A tool as its operator configures it: a recipe by name, a whole one, or one with some fields of one's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandSettings {
    /// The shipped recipe that this is, if it is one; fields that are given take the place of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// What it is called where it is spoken of; the recipe's or the program's name if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The program: a path, or a name that is looked up in `PATH` when the node starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// Arguments that stand where the recipe has `{extra}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<String>,
    /// More files and folders that the tool may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<PathBuf>,
    /// What to do where the system cannot keep the tool from files, network and other processes.
    #[serde(skip_serializing_if = "Confine::is_required")]
    pub confine: Confine,
    /// What it does, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The kinds of job it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<JobKind>>,
    /// The MIME types it reads; `text/*` has documents turned into text first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takes: Option<Vec<String>>,
    /// How it is given its input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Feed>,
    /// Its arguments; see [`Recipe::args`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// What it makes, the usual first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<OutputRule>>,
    /// How parameters become arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<Vec<ParamRule>>,
    /// What it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitRule>,
    /// What a job costs if `[[provider.price]]` says nothing of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceHint>,
    /// Variables of its environment, which is empty else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    /// Arguments with which it ends well if it can work; tried when the node starts.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Vec<String>>,
    /// Parameters that change nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignores: Option<Vec<String>>,
}

/// What to do where the system cannot keep a tool from files, network and other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confine {
    /// Sell nothing of it.
    #[default]
    Required,
    /// Confine it as far as the system can.
    Available,
}

impl Confine {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_required(&self) -> bool {
        *self == Self::Required
    }
}

/// How a tool is given its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// On standard input.
    #[default]
    Stdin,
    /// As a file in a folder of its own; `{input}` is its path.
    File,
}

/// Something a tool makes. Text is what it writes to standard output unless the arguments name `{output}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputRule {
    /// Its MIME type.
    pub mime: String,
    /// How its file's name ends, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// Arguments that stand where the recipe has `{format}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

impl OutputRule {
    /// Whether it goes into the result as it is.
    pub(crate) fn is_text(&self) -> bool {
        self.mime.starts_with("text/") || self.mime == "application/json"
    }
}

/// How a parameter becomes arguments. A value that is not expected is refused before a price is named, and
/// no value that begins with a dash is ever passed on, so that none can become an option.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParamRule {
    /// The parameter.
    pub name: String,
    /// Arguments that stand where the recipe has `{name}`; in them `{1}` is the first value, `{2}` the second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The values that are taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The values that are taken, and what is passed for each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, String>,
    /// Values that mean the same as none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<String>,
    /// Whether values are lowered before they are compared and passed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lower: bool,
    /// What values look like, where they are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// The least that a number may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that a number may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// What a number is multiplied with; the product is passed as a whole number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
}

impl ParamRule {
    fn says_what_is_taken(&self) -> bool {
        !self.values.is_empty() || !self.map.is_empty() || self.form.is_some() || self.is_number()
    }

    /// Whether its values are numbers.
    pub(crate) fn is_number(&self) -> bool {
        self.min.is_some() || self.max.is_some() || self.scale.is_some()
    }
}

/// What values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A word of letters, digits, `_`, `.` and, inside, `-`.
    Word,
    /// A time: seconds, `M:SS` or `H:MM:SS`.
    Time,
}

/// What a tool may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitRule {
    /// By the clock on the wall.
    pub seconds: u64,
    /// Of processor time; as `seconds`, for each of two processors, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Of address space, in MiB, for each of its processes.
    pub memory_mb: u64,
    /// Of what it writes: each file, all its files together, and standard output.
    pub output_mb: u64,
    /// The largest input, in MiB.
    pub input_mb: u64,
    /// Open files at once.
    pub open_files: u64,
    /// Threads and processes at once.
    pub tasks: u64,
    /// Whether it may start other processes, as a script does.
    pub forks: bool,
}

impl Default for LimitRule {
    fn default() -> Self {
        Self {
            seconds: 60,
            cpu_seconds: None,
            memory_mb: 1_024,
            output_mb: 16,
            input_mb: 10,
            open_files: 64,
            tasks: 32,
            forks: false,
        }
    }
}

/// What a job costs and how long it takes, as a recipe proposes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceHint {
    /// For any job, in millisatoshis.
    pub base_msat: u64,
    /// For each KiB of input begun, in millisatoshis.
    pub per_kib_msat: u64,
    /// For each second that a job usually takes, in millisatoshis.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub per_second_msat: u64,
    /// How long a usual job takes, in seconds.
    pub eta_s: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it skips by reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A recipe with all that is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) program: PathBuf,
    pub(crate) kinds: Vec<JobKind>,
    #[serde(default = "text_only")]
    pub(crate) takes: Vec<String>,
    #[serde(default)]
    pub(crate) input: Feed,
    /// An argument that is `{extra}`, `{format}` or a parameter's name in braces stands for none or more;
    /// `{input}` and `{output}` may stand inside of one. No shell ever sees them.
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) extra: Vec<String>,
    pub(crate) output: Vec<OutputRule>,
    #[serde(default)]
    pub(crate) param: Vec<ParamRule>,
    #[serde(default)]
    pub(crate) format_param: Option<String>,
    #[serde(default)]
    pub(crate) limits: LimitRule,
    #[serde(default)]
    pub(crate) price: Option<PriceHint>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) read: Vec<PathBuf>,
    #[serde(default, rename = "try")]
    pub(crate) attempt: Vec<String>,
    #[serde(default)]
    pub(crate) ignores: Vec<String>,
    /// How the line begins that says the result, if the others are only chatter; the beginning is cut off.
    #[serde(default)]
    pub(crate) line: Option<String>,
    /// The result for each way of ending that is none of failure; `{stdout}` is what it said.
    #[serde(default = "well_or_not")]
    pub(crate) results: BTreeMap<String, String>,
    /// Why a job fails whose tool says nothing.
    #[serde(default)]
    pub(crate) empty: Option<String>,
    #[serde(default)]
    pub(crate) confine: Confine,
}

fn text_only() -> Vec<String> {
    vec!["text/*".into()]
}

fn well_or_not() -> BTreeMap<String, String> {
    BTreeMap::from([("0".into(), "{stdout}".into())])
}

impl Recipe {
    /// A shipped one.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn shipped(name: &str) -> Result<Self, String> {
        let known = || RECIPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let found = RECIPES.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| format!("there is no recipe {name:?}; there are {}", known()))?;
        let mut recipe: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        recipe.name = name.into();
        Ok(recipe)
    }

    /// What an operator configured.
    ///
    /// # Errors
    /// It names no recipe that there is and is none itself, or parts of it do not fit.
    pub(crate) fn of(settings: &CommandSettings) -> Result<Self, String> {
        let mut recipe = match &settings.recipe {
            Some(name) => Self::shipped(name)?,
            None => Self::own(settings)?,
        };
        recipe.take(settings);
        recipe.check()?;
        Ok(recipe)
    }

    /// One that is no shipped one.
    fn own(settings: &CommandSettings) -> Result<Self, String> {
        let lacks = |what: &str| format!("it has no `recipe`, so it needs `{what}`");
        let program = settings.program.clone().ok_or_else(|| lacks("program"))?;
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self {
            about: format!("{name}, a tool of the operator"),
            name,
            program,
            kinds: settings.kinds.clone().ok_or_else(|| lacks("kinds"))?,
            takes: text_only(),
            input: Feed::Stdin,
            args: settings.args.clone().unwrap_or_default(),
            extra: Vec::new(),
            output: vec![OutputRule { mime: "text/plain".into(), ..OutputRule::default() }],
            param: Vec::new(),
            format_param: None,
            limits: LimitRule::default(),
            price: None,
            env: BTreeMap::new(),
            read: Vec::new(),
            attempt: Vec::new(),
            ignores: vec!["model".into(), "safety_profile_id".into()],
            line: None,
            results: well_or_not(),
            empty: None,
            confine: Confine::Required,
        })
    }

    /// The fields that were given take the place of these.
    fn take(&mut self, own: &CommandSettings) {
        fn put<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                *place = value.clone();
            }
        }
        put(&mut self.name, own.name.as_ref());
        put(&mut self.program, own.program.as_ref());
        put(&mut self.about, own.about.as_ref());
        put(&mut self.kinds, own.kinds.as_ref());
        put(&mut self.takes, own.takes.as_ref());
        put(&mut self.input, own.input.as_ref());
        put(&mut self.args, own.args.as_ref());
        put(&mut self.output, own.output.as_ref());
        put(&mut self.param, own.param.as_ref());
        put(&mut self.limits, own.limits.as_ref());
        put(&mut self.env, own.env.as_ref());
        put(&mut self.attempt, own.attempt.as_ref());
        put(&mut self.ignores, own.ignores.as_ref());
        self.price = own.price.or(self.price);
        self.extra.extend(own.extra.iter().cloned());
        self.read.extend(own.read.iter().cloned());
        self.confine = own.confine;
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), String> {
        if self.kinds.is_empty() || self.output.is_empty() {
            return Err("it needs at least one of `kinds` and of `output`".into());
        }
        let is_file = |rule: &&OutputRule| !rule.is_text();
        if let Some(rule) = self.output.iter().find(is_file)
            && (rule.extension.is_none() || !self.args.iter().any(|arg| arg.contains("{output}")))
        {
            return Err(format!(
                "{} is a file: it needs an `extension`, and `{{output}}` in `args`",
                rule.mime
            ));
        }
        let plain = |end: &String| !end.is_empty() && end.bytes().all(|b| b.is_ascii_alphanumeric());
        if self.output.iter().filter_map(|rule| rule.extension.as_ref()).any(|end| !plain(end)) {
            return Err("an `extension` consists of letters and digits".into());
        }
        if self.input == Feed::File && !self.args.iter().any(|arg| arg.contains("{input}")) {
            return Err("its input is a file, and `{input}` is not in `args`".into());
        }
        if self.limits.seconds == 0 || self.limits.memory_mb == 0 || self.limits.tasks == 0 {
            return Err("`limits` of nought let nothing run".into());
        }
        if let Some(rule) = self.param.iter().find(|rule| !rule.says_what_is_taken()) {
            return Err(format!(
                "the parameter {} takes anything: give `values`, `map`, `form`, `min` or `max`",
                rule.name
            ));
        }
        let used =
            |rule: &&ParamRule| rule.args.is_empty() || self.args.contains(&format!("{{{}}}", rule.name));
        match self.param.iter().find(|rule| !used(rule)) {
            Some(rule) => Err(format!("the parameter {} has no place `{{{0}}}` in `args`", rule.name)),
            None => Ok(()),
        }
    }

    /// Whether it works on files as they came, documents among them.
    pub(crate) fn takes_files(&self) -> bool {
        self.takes.iter().any(|mime| !mime.starts_with("text/"))
    }

    /// Whether it reads this MIME type.
    pub(crate) fn takes(&self, mime: &str) -> bool {
        self.takes.iter().any(|known| match known.strip_suffix('*') {
            Some("*/") => true,
            Some(start) => mime.starts_with(start),
            None => known == mime,
        })
    }
}
