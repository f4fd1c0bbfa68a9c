//! Places where a test can make the process die, one at every edge between us and the world.
//!
//! `OPENAGENTS_FAILPOINT=name` or `name:n` aborts the process at the first or n-th time the place is
//! reached, as a power cut would: no destructor, no flush. Only builds with debug assertions look at
//! the variable; in a release build [`hit`] is empty. `OPENAGENTS_FAILPOINT_LIST=file` appends the
//! name of each place on its first visit, which is how the sweep knows them all.

#[cfg(debug_assertions)]
mod active {
    use std::{
        collections::HashMap,
        io::Write,
        sync::{Mutex, OnceLock, PoisonError},
    };

    struct Plan {
        target: Option<(String, u32)>,
        list: Option<std::path::PathBuf>,
        visits: Mutex<HashMap<&'static str, u32>>,
    }

    fn plan() -> &'static Option<Plan> {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        PLAN.get_or_init(|| {
            let target = std::env::var("OPENAGENTS_FAILPOINT").ok().map(|text| {
                let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
                (name.to_owned(), count.parse().unwrap_or(1))
            });
            let list = std::env::var_os("OPENAGENTS_FAILPOINT_LIST").map(Into::into);
            (target.is_some() || list.is_some()).then(|| Plan { target, list, visits: Mutex::default() })
        })
    }

    pub(super) fn visit(name: &'static str) {
        let Some(plan) = plan() else { return };
        let mut visits = plan.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let count = visits.entry(name).or_default();
        *count += 1;
        if *count == 1
            && let Some(path) = &plan.list
            && let Ok(mut file) = std::fs::File::options().append(true).create(true).open(path)
        {
            let _ = writeln!(file, "{name}");
        }
        if plan.target.as_ref().is_some_and(|(target, at)| target == name && at == count) {
            std::process::abort();
        }
    }
}

/// Marks a place.
#[inline]
pub fn hit(name: &'static str) {
    #[cfg(debug_assertions)]
    active::visit(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}
