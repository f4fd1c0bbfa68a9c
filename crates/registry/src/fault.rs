//! Why a request or a result is not what its kind asks. The texts are fit for strangers: they hold what
//! was said, shortened, and what was expected.

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such kind in the catalogue.
    #[error("job kind {0} is not in the registry")]
    UnknownKind(u16),
    /// A file that is no kind.
    #[error("not a job kind: {0}")]
    NotAKind(String),
    /// A parameter that the kind cannot do without.
    #[error("parameter {param:?} is missing; it is required")]
    Missing {
        /// Which.
        param: String,
    },
    /// A value that cannot be read as its type.
    #[error("parameter {param:?} is {found:?}, expected {expected}")]
    Type {
        /// Which.
        param: String,
        /// The type.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// A number outside its bounds.
    #[error("parameter {param:?} is {found}, expected {expected}")]
    Range {
        /// Which.
        param: String,
        /// The bounds in words.
        expected: String,
        /// What came.
        found: String,
    },
    /// A word outside its list.
    #[error("parameter {param:?} is {found:?}, expected one of {expected}")]
    NotOneOf {
        /// Which.
        param: String,
        /// The list, with commas.
        expected: String,
        /// What came.
        found: String,
    },
    /// A text of the wrong shape.
    #[error("parameter {param:?} is {found:?}, expected {expected}")]
    Pattern {
        /// Which.
        param: String,
        /// What it should look like: an example if there is one, else the pattern.
        expected: String,
        /// What came.
        found: String,
    },
    /// A value longer than is taken.
    #[error("parameter {param:?} has {bytes} bytes, at most {most} are taken")]
    TooLong {
        /// Which.
        param: String,
        /// What came.
        bytes: usize,
        /// What is taken.
        most: usize,
    },
    /// A list with too few or too many values.
    #[error("parameter {param:?} has {count} values, expected {expected}")]
    Values {
        /// Which.
        param: String,
        /// What came.
        count: usize,
        /// How many are taken, in words.
        expected: String,
    },
    /// More parameters than any honest request has.
    #[error("the request has {count} parameters, at most {most} are taken")]
    TooManyParams {
        /// What came.
        count: usize,
        /// What is taken.
        most: usize,
    },
    /// An input of a type that the kind cannot work on.
    #[error("an input of type {found} is not taken; send {expected}")]
    InputType {
        /// What came.
        found: &'static str,
        /// What is taken.
        expected: String,
    },
    /// Too few or too many inputs.
    #[error("the request has {count} inputs, expected {expected}")]
    Inputs {
        /// What came.
        count: usize,
        /// How many are taken, in words.
        expected: String,
    },
    /// None of the MIME types that the customer would take.
    #[error("output {found} is not made; ask for {expected}")]
    Output {
        /// What was asked.
        found: String,
        /// What is made.
        expected: String,
    },
    /// A customer's schema that is not used.
    #[error("parameter {param:?} is not a schema that is used here: {reason}")]
    Schema {
        /// The parameter.
        param: String,
        /// Why.
        reason: String,
    },
    /// A result that says that the work failed.
    #[error("the result reports a failure: {0}")]
    Reported(String),
    /// A result that is not what was promised.
    #[error("the result is not as promised{place}: {reason}", place = at(path))]
    Result {
        /// Where, as a JSON pointer; empty for the whole.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Fault {
    /// A fault of a whole result.
    pub(crate) fn result(reason: impl Into<String>) -> Self {
        Self::Result { path: String::new(), reason: reason.into() }
    }
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at {path}") }
}

/// Enough of a stranger's text to recognise it, and not more.
pub(crate) fn short(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// `exactly 2`, `at least 1`, `1 to 5`.
pub(crate) fn count_words(min: usize, max: Option<usize>) -> String {
    match max {
        Some(max) if max == min => format!("exactly {min}"),
        Some(max) if min == 0 => format!("at most {max}"),
        Some(max) => format!("{min} to {max}"),
        None => format!("at least {min}"),
    }
}
