//! From a job's parameters to a tool's arguments. There is no shell: every argument is passed as it stands, and
//! what a stranger wrote is only ever a whole value in a place that the recipe has for it.

use openagents_types::Param;

use super::recipe::{Form, OutputRule, ParamRule, Recipe};
use crate::{Rejection, bad_param};

/// The longest value that is passed, in bytes.
const LONGEST: usize = 256;

/// The name of the input file in the tool's folder.
pub(crate) const INPUT: &str = "input";

/// The name of the output file.
pub(crate) fn output_name(output: &OutputRule) -> String {
    match &output.extension {
        Some(extension) => format!("output.{extension}"),
        None => "output".into(),
    }
}

impl Recipe {
    /// The arguments for a job, or why it would not be done.
    pub(crate) fn arguments(&self, params: &[Param], output: &OutputRule) -> Result<Vec<String>, Rejection> {
        let known = self.values_of(params)?;
        let file = output_name(output);
        let mut arguments = Vec::new();
        for argument in &self.args {
            let word = argument.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match word {
                Some("extra") => arguments.extend(self.extra.iter().cloned()),
                Some("format") => arguments.extend(output.args.iter().cloned()),
                Some(name) if self.param.iter().any(|rule| rule.name == name) => {
                    let given = known.iter().find(|(rule, _)| rule.name == name);
                    arguments.extend(given.iter().flat_map(|(rule, values)| filled(rule, values)));
                }
                _ => arguments.push(argument.replace("{input}", INPUT).replace("{output}", &file)),
            }
        }
        Ok(arguments)
    }

    /// Those that only try the tool.
    pub(crate) fn trial(&self) -> Vec<String> {
        let one = |argument: &String| match argument.as_str() {
            "{extra}" => self.extra.clone(),
            _ => vec![argument.clone()],
        };
        self.attempt.iter().flat_map(one).collect()
    }

    /// What is to be made: what the customer would take, best first, else what a parameter names, else the usual.
    pub(crate) fn chosen(&self, wanted: &[String], params: &[Param]) -> Option<&OutputRule> {
        if !wanted.is_empty() {
            return wanted.iter().find_map(|mime| self.output.iter().find(|rule| rule.mime == *mime));
        }
        match self.format_named(params) {
            Some(name) => self.output.iter().find(|rule| rule.extension.as_deref() == Some(name)),
            None => self.output.first(),
        }
    }

    fn format_named<'a>(&self, params: &'a [Param]) -> Option<&'a str> {
        let name = self.format_param.as_ref()?;
        params.iter().find(|param| param.name == *name)?.values.first().map(String::as_str)
    }

    /// The values of the parameters that mean something here.
    fn values_of(&self, params: &[Param]) -> Result<Vec<(&ParamRule, Vec<String>)>, Rejection> {
        let mut known = Vec::new();
        for param in params {
            let shown = || param.values.join(" ");
            if self.ignores.contains(&param.name) {
                continue;
            }
            if self.format_param.as_ref() == Some(&param.name) {
                let named = self.format_named(params);
                if !self.output.iter().any(|rule| rule.extension.as_deref() == named) {
                    return Err(bad_param(&param.name, &shown(), &self.extensions()));
                }
                continue;
            }
            let Some(rule) = self.param.iter().find(|rule| rule.name == param.name) else {
                return Err(bad_param(
                    &param.name,
                    &shown(),
                    "nothing: this provider's tool does not know it",
                ));
            };
            let expected = || bad_param(&param.name, &shown(), &rule.expected());
            if let Some(values) = rule.read(&param.values).ok_or_else(expected)? {
                known.push((rule, values));
            }
        }
        Ok(known)
    }

    fn extensions(&self) -> String {
        let all: Vec<&str> = self.output.iter().filter_map(|rule| rule.extension.as_deref()).collect();
        format!("one of {}", all.join(", "))
    }
}

/// The arguments of a parameter with its values in their places.
fn filled(rule: &ParamRule, values: &[String]) -> Vec<String> {
    let fill = |argument: &String| match place(argument) {
        Some(at) => values.get(at).cloned().unwrap_or_default(),
        None => argument.clone(),
    };
    rule.args.iter().map(fill).collect()
}

/// Which value stands in the place of this argument, from nought.
fn place(argument: &str) -> Option<usize> {
    let number = argument.strip_prefix('{')?.strip_suffix('}')?;
    number.parse::<usize>().ok()?.checked_sub(1)
}

impl ParamRule {
    /// How many values there have to be.
    fn count(&self) -> usize {
        self.args.iter().filter_map(|argument| place(argument)).map(|at| at + 1).max().unwrap_or(1)
    }

    /// The values as they are passed; nothing if they mean the same as none.
    fn read(&self, values: &[String]) -> Option<Option<Vec<String>>> {
        if values.len() != self.count() {
            return None;
        }
        let values: Vec<String> = values
            .iter()
            .map(|value| if self.lower { value.to_lowercase() } else { value.clone() })
            .collect();
        if matches!(values.as_slice(), [only] if self.skips.contains(only)) {
            return Some(None);
        }
        values.iter().map(|value| self.one(value)).collect::<Option<Vec<_>>>().map(Some)
    }

    fn one(&self, value: &str) -> Option<String> {
        let passed = if let Some(meant) = self.map.get(value) {
            meant.clone()
        } else if self.values.iter().any(|known| known == value)
            || self.form.is_some_and(|form| form.fits(value))
        {
            value.to_owned()
        } else if self.is_number() {
            self.number(value)?
        } else {
            return None;
        };
        let is_option = passed.starts_with(['-', '@', '+']);
        let is_plain = !passed.is_empty() && passed.len() <= LONGEST && !passed.chars().any(char::is_control);
        (is_plain && !is_option).then_some(passed)
    }

    fn number(&self, value: &str) -> Option<String> {
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite())?;
        let fits = self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max);
        let passed = match self.scale {
            Some(scale) => format!("{:.0}", number * scale),
            None => number.to_string(),
        };
        fits.then_some(passed)
    }

    /// What it takes, for whoever gave something else.
    fn expected(&self) -> String {
        let listed: Vec<&str> = self.values.iter().chain(self.map.keys()).map(String::as_str).collect();
        match listed.len() {
            0 => {}
            1..=12 => return format!("one of {}", listed.join(", ")),
            many => return format!("one of {many}, such as {}", listed[..3].join(", ")),
        }
        match (self.form, self.min, self.max) {
            (Some(Form::Word), ..) => "a word".into(),
            (Some(Form::Time), ..) => format!("{} times, such as 90 or 1:30", self.count()),
            (None, Some(min), Some(max)) => format!("a number from {min} to {max}"),
            (None, Some(min), None) => format!("a number of at least {min}"),
            (None, None, Some(max)) => format!("a number of at most {max}"),
            (None, None, None) => "a number".into(),
        }
    }
}

impl Form {
    fn fits(self, value: &str) -> bool {
        let mut bytes = value.bytes();
        match self {
            Self::Word => {
                bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
                    && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            }
            Self::Time => {
                bytes.next().is_some_and(|first| first.is_ascii_digit())
                    && bytes.all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]
    use super::*;

    fn arguments(recipe: &str, params: &[(&str, &[&str])]) -> Result<String, String> {
        let recipe = Recipe::shipped(recipe).unwrap();
        let params: Vec<Param> = params
            .iter()
            .map(|(name, values)| Param {
                name: (*name).into(),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            })
            .collect();
        let output = recipe.chosen(&[], &params).unwrap_or(&recipe.output[0]);
        recipe.arguments(&params, output).map(|all| all.join(" ")).map_err(|no| no.to_string())
    }

    #[test]
    fn parameters_stand_where_the_recipe_has_a_place_for_them() {
        for (recipe, params, expected) in [
            ("espeak-ng", &[][..], "-b 1 --stdin -w output.wav"),
            ("espeak-ng", &[("language", &["auto"][..])], "-b 1 --stdin -w output.wav"),
            (
                "espeak-ng",
                &[("speed", &["0.8"]), ("language", &["pt-BR"]), ("model", &["x"])],
                "-b 1 -v pt-br -s 140 --stdin -w output.wav",
            ),
            ("tesseract", &[("language", &["en"])], "input stdout -l eng"),
        ] {
            assert_eq!(arguments(recipe, params).unwrap(), expected);
        }
        let cut = arguments("ffmpeg", &[("range", &["0:30", "1:00"]), ("format", &["mp3"])]).unwrap();
        assert!(cut.contains("-ss 0:30 -to 1:00 -i file:input"), "{cut}");
        assert!(cut.ends_with("-vn -c:a libmp3lame -q:a 4 -f mp3 -threads 2 -y file:output.mp3"), "{cut}");
    }

    #[test]
    fn no_value_becomes_an_option_or_reaches_what_the_recipe_has_no_place_for() {
        for (recipe, name, values) in [
            ("espeak-ng", "voice", &["--path=/etc"][..]),
            ("espeak-ng", "voice", &["-f/etc/passwd"]),
            ("espeak-ng", "voice", &["en;id"]),
            ("espeak-ng", "language", &["$(id)"]),
            ("espeak-ng", "language", &["en", "-f", "/etc/passwd"]),
            ("espeak-ng", "speed", &["-1"]),
            ("espeak-ng", "speed", &["NaN"]),
            ("espeak-ng", "speed", &["4.01"]),
            ("ffmpeg", "range", &["-i", "file:/etc/passwd"]),
            ("ffmpeg", "range", &["0", "1 -i x"]),
            ("ffmpeg", "range", &["0"]),
            ("ffmpeg", "format", &["mkv"]),
            ("ffmpeg", "vf", &["movie=/etc/passwd"]),
            ("tesseract", "language", &["../../etc"]),
            ("tesseract", "alignment", &["word"]),
            ("clamav", "database", &["/tmp"]),
        ] {
            let error = arguments(recipe, &[(name, values)]).unwrap_err();
            assert!(error.contains(&format!("parameter \"{name}\"")), "{recipe} {name} {values:?}: {error}");
        }
    }

    #[test]
    fn what_is_made_is_what_the_customer_would_take() {
        let recipe = Recipe::shipped("ffmpeg").unwrap();
        let chosen = |wanted: &[&str], format: Option<&str>| {
            let wanted: Vec<String> = wanted.iter().map(|mime| (*mime).to_owned()).collect();
            let params: Vec<Param> = format.map(|name| Param::new("format", name)).into_iter().collect();
            recipe.chosen(&wanted, &params).map(|rule| rule.mime.clone())
        };
        assert_eq!(chosen(&[], None).unwrap(), "video/mp4");
        assert_eq!(chosen(&[], Some("ogg")).unwrap(), "audio/ogg");
        assert_eq!(chosen(&["video/webm", "audio/wav"], None).unwrap(), "audio/wav");
        assert_eq!(chosen(&["video/webm"], None), None);
    }
}
