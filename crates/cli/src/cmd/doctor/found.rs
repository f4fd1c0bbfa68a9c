//! Whether all that could be sold is sold, and whether others see what is.

use openagents_api::{AdsReport, Client};
use openagents_node::{config::Config, detect};

use super::Check;
use crate::text::one_line;

/// Model servers that answer on this machine and are not in the settings.
pub(super) async fn unsold_servers(config: &Config) -> Vec<Check> {
    let found = detect::model_servers(&detect::USUAL_PORTS).await;
    let unsold = found.into_iter().filter(|server| !is_sold(config, &server.url));
    let told = unsold.map(|server| {
        let models = one_line(&server.models.join(", "), 120);
        Check::warn(
            "backend",
            format!("{} answers at {} and is not sold ({models})", server.kind.name(), server.url),
            format!(
                "openagents config edit, and add [[backend.{}]] with url = \"{}\"",
                server.kind.section(),
                server.url
            ),
        )
    });
    told.collect()
}

/// Whether any section sells what answers at an address.
fn is_sold(config: &Config, url: &str) -> bool {
    let backend = &config.backend;
    let urls = (backend.openai.iter().map(|it| &it.url))
        .chain(backend.ollama.iter().map(|it| &it.url))
        .chain(backend.llamacpp.iter().map(|it| &it.url))
        .chain(backend.mlx.iter().map(|it| &it.url))
        .chain(backend.foundation_models.iter().map(|it| &it.url));
    urls.into_iter().any(|sold| is_at(sold, url))
}

/// Whether two addresses are one, `/v1` and the names of this machine aside.
fn is_at(one: &str, other: &str) -> bool {
    let plain = |url: &str| {
        let url = url.trim_end_matches('/').trim_end_matches("/v1").replace("//localhost:", "//127.0.0.1:");
        url.trim_end_matches('/').to_owned()
    };
    plain(one) == plain(other)
}

/// Whether what a running provider sells is seen.
pub(super) async fn ads(client: &Client) -> Check {
    match client.verify_ads().await {
        Ok(report) if report.visible => Check::ok("ads", "every kind that is sold is seen"),
        Ok(report) => Check::warn("ads", unseen(&report), "openagents provider ads verify"),
        Err(error) => Check::warn("ads", one_line(&error.to_string(), 160), "openagents provider ads verify"),
    }
}

fn unseen(report: &AdsReport) -> String {
    let ads = || report.relays.iter().flat_map(|relay| &relay.ads).filter(|ad| ad.sold);
    let mut kinds: Vec<_> = ads().map(|ad| ad.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.retain(|kind| !ads().any(|ad| ad.kind == *kind && ad.visible));
    let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    format!("not seen on any relay: {}", kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_sold_under_each_kind_of_section() {
        for section in ["openai", "ollama", "llamacpp", "mlx", "foundation_models"] {
            let text = format!("[[backend.{section}]]\nurl = \"http://127.0.0.1:9\"\n");
            let path = std::path::Path::new("config.toml");
            let config = Config::read(path, &text, |_| None, &[]).map(|read| read.0);
            assert!(config.is_ok_and(|it| is_sold(&it, "http://localhost:9/v1")), "{section}");
        }
        assert!(!is_sold(&Config::default(), "http://127.0.0.1:9"));
    }

    #[test]
    fn an_address_is_the_same_in_each_of_its_spellings() {
        for other in ["http://127.0.0.1:8080", "http://localhost:8080/v1", "http://127.0.0.1:8080/v1/"] {
            assert!(is_at("http://127.0.0.1:8080/", other), "{other}");
        }
        assert!(!is_at("http://127.0.0.1:8080", "http://127.0.0.1:8081"));
    }
}
