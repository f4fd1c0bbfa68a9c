//! The market's own kinds (6500-6599) on chat servers: a prompt for each, an answer in the shape that the registry
//! promises, and a look at whether it has that shape before it is sent.
//!
//! Servers that can are held to the schema while they write. What an answer has to be is never left to the model: an
//! answer that breaks the schema, or off, fails the job, and its payment goes back.

mod classify;
mod prompt;

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use openagents_backend::{
    Backend, BackendError, BuildError, Chat, Health, Model, OpenAiSettings, Output, Question, Rejection,
    Work, Written, market_name,
};
use openagents_registry::{JobParams, KindSchema};
use openagents_types::{JobInput, JobKind, Millis, Param, Usage};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Input taken, in bytes: with the template around it, what small models can hold.
const LARGEST: u64 = 256 << 10;

/// The longest answer, in tokens, whatever the job allows.
const MOST_TOKENS: u64 = 8_000;

/// Tokens of an answer where neither job nor kind says how many.
const USUAL_TOKENS: u64 = 1_000;

/// What it is called among backends.
pub(crate) const NAME: &str = "template";

/// One chat server that does some of the kinds.
#[derive(Debug)]
pub(crate) struct Templates {
    chat: Chat,
    kinds: Vec<JobKind>,
}

/// The backends of the kinds that are wanted, one for each server.
pub(crate) fn backends(
    servers: &[OpenAiSettings],
    wanted: &[JobKind],
) -> Result<Vec<Arc<dyn Backend>>, BuildError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let build = |server: &OpenAiSettings| -> Result<Arc<dyn Backend>, BuildError> {
        Ok(Arc::new(Templates { chat: Chat::new(server.clone(), None)?, kinds: wanted.to_vec() }))
    };
    servers.iter().map(build).collect()
}

/// A job as its template sees it.
struct Job<'a> {
    schema: &'static KindSchema,
    params: JobParams,
    texts: Vec<String>,
    work: &'a Work,
}

impl<'a> Job<'a> {
    fn read(work: &'a Work) -> Result<Self, BackendError> {
        let bad = |fault: openagents_registry::Fault| BackendError::BadInput(fault.to_string());
        let schema = openagents_registry::find(work.kind).map_err(bad)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let texts: Vec<String> = work.inputs.iter().map(|input| text(&input.bytes)).collect();
        let inputs: Vec<JobInput> = texts.iter().map(|_| JobInput::text("read")).collect();
        let params = schema.read(&inputs, &work.params, &work.output).map_err(bad)?;
        Ok(Self { schema, params, texts, work })
    }

    fn most_tokens(&self) -> u64 {
        self.params.u64("max_tokens").unwrap_or(USUAL_TOKENS).min(MOST_TOKENS)
    }

    fn model(&self) -> Option<&str> {
        self.work.params.iter().find(|param| param.name == "model")?.values.first().map(String::as_str)
    }
}

impl Templates {
    async fn answer(&self, work: &Work) -> Result<Output, BackendError> {
        let started = Instant::now();
        let job = Job::read(work)?;
        let (content, said) = if work.kind.get() == 6508 {
            self.classified(&job).await?
        } else {
            let written =
                self.ask(&job, &prompt::system(&job)?, &prompt::user(&job), &prompt::schema(&job)?).await?;
            (written.text.trim().to_owned(), vec![written])
        };
        let fits = job.schema.check_result(&content, &job.params);
        fits.map_err(|fault| {
            BackendError::Protocol(format!("the model's answer is not what was asked for: {fault}"))
        })?;
        let usage = Usage {
            backend: NAME.into(),
            model: said.first().map(|written| market_name(&written.model).to_owned()),
            input_tokens: said.iter().map(|written| written.input_tokens).sum(),
            output_tokens: said.iter().map(|written| written.output_tokens).sum::<u64>().max(1),
            digest: None,
            quantization: None,
            elapsed: Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
        };
        Ok(Output::text(content, usage))
    }

    async fn ask(
        &self,
        job: &Job<'_>,
        system: &str,
        user: &str,
        schema: &Value,
    ) -> Result<Written, BackendError> {
        let question = Question { system, user, schema };
        let names = self.chat.model_names();
        // The server knows the model by its whole name.
        let model = job.model().map(|wanted| names.iter().find(|name| market_name(name) == wanted));
        let model = model.map(|found| found.map(String::as_str).ok_or(BackendError::NoModel)).transpose()?;
        self.chat.written(question, job.most_tokens(), model).await
    }

    /// Each text by itself.
    async fn classified(&self, job: &Job<'_>) -> Result<(String, Vec<Written>), BackendError> {
        let wish = classify::Wish::read(&job.params);
        let (mut labels, mut said) = (Vec::new(), Vec::new());
        for text in &job.texts {
            let written = self.ask(job, &wish.system(), &prompt::material(&[text]), &wish.schema()).await?;
            labels.push(wish.labels(&written.text)?);
            said.push(written);
        }
        Ok((classify::result(labels).to_string(), said))
    }
}

#[async_trait]
impl Backend for Templates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<JobKind> {
        self.kinds.clone()
    }

    async fn probe(&self) -> Health {
        self.chat.probe().await
    }

    fn makes(&self, _: JobKind) -> Vec<String> {
        vec!["application/json".into()]
    }

    fn models(&self, _: JobKind) -> Vec<Model> {
        self.chat.model_names().iter().map(|name| Model::named(market_name(name))).collect()
    }

    fn check(&self, _: JobKind, params: &[Param], input_bytes: u64) -> Result<(), Rejection> {
        match input_bytes {
            0 => return Err(Rejection::NoInput),
            found if found > LARGEST => return Err(Rejection::TooLarge { found, most: LARGEST }),
            _ => {}
        }
        let sold: Vec<String> =
            self.chat.model_names().iter().map(|name| market_name(name).to_owned()).collect();
        let wanted = params.iter().find(|param| param.name == "model").and_then(|param| param.values.first());
        match wanted {
            Some(model) if !sold.contains(model) => Err(Rejection::Parameter {
                name: "model".into(),
                found: model.chars().filter(|c| !c.is_control()).take(48).collect(),
                expected: format!("one of: {}", sold.join(", ")),
            }),
            _ => Ok(()),
        }
    }

    async fn run(
        &self,
        work: Work,
        _pieces: mpsc::Sender<String>,
        stop: CancellationToken,
    ) -> Result<Output, BackendError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(BackendError::Cancelled),
            answer = self.answer(&work) => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_neither_listed_nor_said_to_a_stranger() -> Result<(), BuildError> {
        crate::install_tls();
        let server = OpenAiSettings {
            url: "http://127.0.0.1:9".into(),
            models: vec!["/home/ann/tiny.gguf".into()],
            key_file: None,
        };
        let kind = JobKind::TEXT_GENERATION;
        let templates = Templates { chat: Chat::new(server, None)?, kinds: vec![kind] };
        let names: Vec<String> = templates.models(kind).into_iter().map(|model| model.name).collect();
        assert_eq!(names, ["tiny"]);
        let check = |model: &str| templates.check(kind, &[Param::new("model", model)], 10);
        assert_eq!(check("tiny"), Ok(()));
        assert!(check("other").is_err_and(|error| !error.to_string().contains("ann")));
        Ok(())
    }
}
