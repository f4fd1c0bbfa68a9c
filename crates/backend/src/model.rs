//! What a backend says of its models, so that a job can be sent where it can be done.

use openagents_types::Param;

/// A model that a backend sells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Its name, as jobs write it.
    pub name: String,
    /// The digest of its weights, if the server tells, such as `sha256:…`.
    pub digest: Option<String>,
    /// How its weights were quantized, if the server tells, such as `Q4_K_M`.
    pub quantization: Option<String>,
    /// The most tokens of prompt and answer together, if the server tells.
    pub context: Option<u64>,
}

impl Model {
    /// A model of which nothing but the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// What a job may ask beyond an answer, and not every backend does. One that ignored it would answer another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Instructions of their own before the prompt (parameter `system`).
    System,
    /// Texts that end the answer (parameter `stop`).
    Stop,
    /// Tools that the model may call (parameter `tool_choice`, unless it is `none`).
    Tools,
}

impl Feature {
    /// The parameter that asks for it.
    pub const fn param(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Stop => "stop",
            Self::Tools => "tool_choice",
        }
    }

    /// What these parameters ask for.
    pub fn wanted(params: &[Param]) -> Vec<Self> {
        let asks = |feature: &Self| {
            let value = |param: &Param| {
                param.name == feature.param()
                    && param.values.iter().any(|value| !value.is_empty() && value != "none")
            };
            params.iter().any(value)
        };
        [Self::System, Self::Stop, Self::Tools].into_iter().filter(asks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_from_the_parameters() {
        let wanted = |params: &[Param]| Feature::wanted(params);
        assert_eq!(wanted(&[Param::new("temperature", "1"), Param::new("tool_choice", "none")]), []);
        assert_eq!(
            wanted(&[Param::new("stop", "END"), Param::new("system", "be brief")]),
            [Feature::System, Feature::Stop]
        );
        assert_eq!(wanted(&[Param::new("tool_choice", "auto")]), [Feature::Tools]);
    }
}
