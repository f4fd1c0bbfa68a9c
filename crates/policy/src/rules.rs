//! The rule classifier: the rule files of `rules/`, read once, held against every view of a job.

mod file;
mod lexicon;
mod matching;
mod trie;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    ops::Range,
    sync::LazyLock,
};

use crate::{
    Category, Confidence, Job, Part, Place, Use,
    normal::{Unwrapped, View},
    score::{self, Features, Scored, Spoken, Weights},
    use_of,
};
use file::{Language, Rule, Scope};
use lexicon::{Hits, Lexicon};

/// One file per category, and what several of them share.
const FILES: &[(Option<Category>, &str, &str)] = &[
    (None, "common.rules", include_str!("../rules/common.rules")),
    (None, "concepts.rules", include_str!("../rules/concepts.rules")),
    (None, "families.rules", include_str!("../rules/families.rules")),
    (Some(Category::RegulatedHealthcare), "healthcare.rules", include_str!("../rules/healthcare.rules")),
    (Some(Category::RegulatedLegal), "legal.rules", include_str!("../rules/legal.rules")),
    (Some(Category::RegulatedFinancial), "financial.rules", include_str!("../rules/financial.rules")),
    (Some(Category::AcademicTextbook), "textbook.rules", include_str!("../rules/textbook.rules")),
    (Some(Category::TrainingDataIdentification), "training.rules", include_str!("../rules/training.rules")),
    (Some(Category::GuardrailCircumvention), "guardrail.rules", include_str!("../rules/guardrail.rules")),
    (Some(Category::Violence), "violence.rules", include_str!("../rules/violence.rules")),
    (Some(Category::ExplicitContent), "explicit.rules", include_str!("../rules/explicit.rules")),
    (Some(Category::SelfHarm), "self_harm.rules", include_str!("../rules/self_harm.rules")),
    (Some(Category::Fraud), "fraud.rules", include_str!("../rules/fraud.rules")),
    (Some(Category::ProhibitedJobType), "prohibited.rules", include_str!("../rules/prohibited.rules")),
];

/// How far into a part the verb may stand that makes the rest of it material, such as "translate this:".
const TASK_VERB_WITHIN: usize = 90;

/// Parameters that hold material where the inputs do.
const MATERIAL_PARAMS: &[&str] = &["context", "title", "labels", "categories", "schema"];

/// In jobs longer than this, in bytes, doubtful rules are left out: in a long text any three words meet somewhere.
const LONG_JOB: usize = 2_000;

/// How far around a place its passage reaches at most, in bytes of the view.
const PASSAGE: usize = 150;

/// So many passages of a long job are weighed at most.
const LOOKS: usize = 200;

/// Parameters of no more words than this, with the name and the mark at their ends, are settings.
const SETTING_WORDS: usize = 5;

/// So many parameters that say more are weighed at most.
const MOST_PARAMS: usize = 32;

/// So many sentences at the beginning of a long job are weighed.
const FIRST_SENTENCES: usize = 1;

/// So many sentences at its end are.
const LAST_SENTENCES: usize = 6;

/// Before these an order ends and its material begins.
const MATERIAL_BEGINS: [char; 9] = [':', '"', '“', '„', '«', '「', '『', '：', '\n'];

/// An order is no longer than this, in bytes.
const LONGEST_ORDER: usize = 300;

/// So many of the commonest words, turned or reversed, make a text turned or reversed.
const FOREIGN_WORDS: usize = 2;

/// A rule that hit, or the score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub category: Category,
    /// The rule's name.
    pub rule: &'static str,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// Where in the job.
    pub place: String,
}

/// All rules, compiled.
struct Rules {
    rules: Vec<Rule>,
    lexicon: Lexicon,
    special: Special,
    /// What each set is called in the score; `None` for sets that say nothing of what a text means.
    scored: Vec<Option<u32>>,
}

/// Sets that the classifier itself looks at.
struct Special {
    handling: usize,
    ordering: usize,
    obeying: usize,
    turned: usize,
    says_turned: usize,
    reversed: usize,
    says_reversed: usize,
}

impl Special {
    const fn all(&self) -> [usize; 7] {
        [
            self.handling,
            self.ordering,
            self.obeying,
            self.turned,
            self.says_turned,
            self.reversed,
            self.says_reversed,
        ]
    }
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    Rules::read(FILES).unwrap_or_else(|fault| panic!("the rule files are part of this crate: {fault}"))
});

impl Rules {
    fn read(files: &'static [(Option<Category>, &'static str, &'static str)]) -> Result<Self, file::Fault> {
        let read = file::read(files)?;
        let set = |name: &str| read.set(name);
        let special = Special {
            handling: set("HANDLING")?,
            ordering: set("ORDERING")?,
            obeying: set("OBEYING")?,
            turned: set("TURNED_WORDS")?,
            says_turned: set("SAYS_TURNED")?,
            reversed: set("REVERSED_WORDS")?,
            says_reversed: set("SAYS_REVERSED")?,
        };
        let mut languages = Language::ALL.map(|language| (language, 0));
        for (language, number) in &mut languages {
            *number = set(language.set())?;
        }
        let mut asked = vec![false; read.sets.len()];
        let of_rules = read.rules.iter().flat_map(Rule::sets);
        let of_languages = languages.iter().map(|(_, set)| *set);
        of_rules.chain(special.all()).chain(of_languages).for_each(|set| asked[set] = true);
        let lexicon = Lexicon::new(&read.sets, &asked, languages);
        let unscored =
            [special.ordering, special.turned, special.says_turned, special.reversed, special.says_reversed];
        let scored = |(set, name): (usize, &str)| (!unscored.contains(&set)).then(|| score::hash(4, &[name]));
        let scored = read.set_names().into_iter().enumerate().map(scored).collect();
        Ok(Self { rules: read.rules, lexicon, special, scored })
    }

    fn check(&self, job: &Job<'_>, weights: &Weights) -> Vec<Finding> {
        let unwrapped = Unwrapped::of(job);
        let plain = unwrapped.plain();
        let hits = self.lexicon.hits(&plain);
        let scopes = self.scopes(job, &plain.starts, &hits);
        let mut best = Best {
            job,
            weights,
            scopes,
            found: Vec::new(),
            firm: Vec::new(),
            scored: None,
            scored_in: None,
            deep: false,
            looks: Cell::new(LOOKS),
            honest: RefCell::default(),
        };
        best.add(self, &plain, &hits);
        best.weigh_first_order(self);
        if let Some(deep) = unwrapped.deep() {
            best.deep = true;
            best.add(self, &deep, &self.lexicon.deep_hits(&deep));
            best.deep = false;
        }
        if self.speaks(&hits, self.special.turned, self.special.says_turned) {
            let turned = unwrapped.turned();
            best.add(self, &turned, &self.lexicon.hits(&turned));
        }
        if self.speaks(&hits, self.special.reversed, self.special.says_reversed) {
            let backwards = unwrapped.backwards();
            best.add(self, &backwards, &self.lexicon.hits(&backwards));
        }
        best.weighed()
    }

    /// What the score weighs in one view of a job, if the job is a request and not too long. It knows requests only, so
    /// results are left to the rules.
    fn features(&self, job: &Job<'_>, view: &View, hits: &Hits, scopes: &[Scope]) -> Option<Features> {
        let result = job.parts().iter().any(|part| part.place == Place::Result);
        if result || view.text.len() > LONG_JOB || scopes.contains(&Scope::Any) {
            return None;
        }
        self.features_of(view, hits, 0..inputs_end(job, view))
    }

    /// The same for the order with which this text begins, up to where its material does, if it begins with one.
    fn order(&self, text: &str) -> Option<Features> {
        let end =
            text.find(MATERIAL_BEGINS).unwrap_or(text.len()).min(text.floor_char_boundary(LONGEST_ORDER));
        let order = Unwrapped::of(&Job::new(0).input(&text[..end])).plain();
        let hits = self.lexicon.hits(&order);
        let begins = |set: usize| hits.of(set).iter().any(|hit| hit.start <= 1);
        let is_order = begins(self.special.handling) || begins(self.special.ordering);
        self.features_of(&order, &hits, 0..order.text.len()).filter(|_| is_order)
    }

    /// The same for the sentence that stands at this place. Honest words around a request talk no rule down.
    fn sentence(&self, view: &View, hits: &Hits, at: usize) -> Option<Features> {
        if view.text.len() > LONG_JOB {
            return None;
        }
        self.features_of(view, hits, sentences(&view.text, &(at..at)))
    }

    /// What the score weighs in the sentences around this place of a long view, as if they were a job of their own.
    fn passage(&self, view: &View, deep: bool, at: &Range<usize>) -> Option<Features> {
        let sentences = sentences(&view.text, at);
        let space = |text: &str| text.find(' ').unwrap_or(text.len());
        let far = view.text.floor_char_boundary(at.start.saturating_sub(PASSAGE));
        let start = sentences.start.max(far + space(&view.text[far..]).min(at.start - far));
        let far = view.text.floor_char_boundary(at.end + PASSAGE);
        let end = sentences.end.min(far.max(at.end) + space(&view.text[far.max(at.end)..]));
        let text = view.text.get(start..end)?.trim();
        let passage = View { text: format!(" {text} . "), ..View::default() };
        let hits = if deep { self.lexicon.deep_hits(&passage) } else { self.lexicon.hits(&passage) };
        self.features_of(&passage, &hits, 0..passage.text.len())
    }

    fn features_of(&self, view: &View, hits: &Hits, part: Range<usize>) -> Option<Features> {
        let inside = |hit: &&Range<usize>| part.start <= hit.start && hit.end <= part.end;
        let spoken = |(set, name): (usize, &Option<u32>)| {
            let at: Vec<_> = hits.of(set).iter().filter(inside).cloned().collect();
            name.filter(|_| !at.is_empty()).map(|set| Spoken { set, at })
        };
        let sets: Vec<Spoken> = self.scored.iter().enumerate().filter_map(spoken).collect();
        Features::of(&view.text[part.clone()], &sets)
    }

    /// What each part of the job is. Where a request begins with the verb of a task that works on material, the rest is
    /// material, unless it is to be obeyed as well. Parameters tell what to do, so they ask whatever the kind.
    fn scopes(&self, job: &Job<'_>, starts: &[usize], hits: &Hits) -> Vec<Scope> {
        let handled = || {
            let early =
                |at: usize| starts.iter().any(|start| (*start..start + TASK_VERB_WITHIN).contains(&at));
            let obeyed = !hits.of(self.special.obeying).is_empty();
            !obeyed && hits.of(self.special.handling).iter().any(|hit| early(hit.start))
        };
        let handles = use_of(job.kind) == Use::Handles || handled();
        let scope = |part: &Part<'_>| match &part.place {
            _ if !handles => Scope::Asks,
            Place::Param(name) if !MATERIAL_PARAMS.contains(&&**name) => Scope::Asks,
            _ => Scope::Any,
        };
        job.parts().iter().map(scope).collect()
    }

    fn speaks(&self, hits: &Hits, words: usize, says: usize) -> bool {
        !hits.of(says).is_empty() || hits.of(words).len() >= FOREIGN_WORDS
    }
}

/// The surest finding of each category.
struct Best<'a> {
    job: &'a Job<'a>,
    weights: &'a Weights,
    /// What each part is.
    scopes: Vec<Scope>,
    found: Vec<Finding>,
    /// Rules that are not to be doubted, whatever else the job says: those that hit material, and those whose own
    /// sentence does not read honest.
    firm: Vec<&'static str>,
    /// The worst score of the views.
    scored: Option<Scored>,
    /// In which part it was found, if not in the whole.
    scored_in: Option<usize>,
    /// Whether the view that is read now is the deep one.
    deep: bool,
    /// How many passages of long views may still be weighed.
    looks: Cell<usize>,
    /// The places of the view that were found honest, each for strong rules or for others.
    honest: RefCell<BTreeSet<(usize, usize, bool)>>,
}

impl Best<'_> {
    fn add(&mut self, rules: &Rules, view: &View, hits: &Hits) {
        self.honest.get_mut().clear();
        let (starts, length) = (&view.starts, view.text.len());
        let part_at = |at: usize| starts.partition_point(|start| *start <= at).saturating_sub(1);
        for rule in &rules.rules {
            let known = self.found.iter().position(|finding| finding.category == rule.category);
            if known.is_some_and(|at| self.found[at].confidence >= rule.confidence) {
                continue;
            }
            if !rule.confidence.is_sure() && length > LONG_JOB {
                continue;
            }
            let applies = |at: &Range<usize>| {
                let in_scope =
                    rule.scope == Scope::Any || self.scopes.get(part_at(at.start)) == Some(&Scope::Asks);
                in_scope && (length <= LONG_JOB || self.asks_in_passing(rules, rule, view, at))
            };
            // For the same reason its words must stand closer there.
            let within = if length > LONG_JOB { rule.within * 3 / 4 } else { rule.within };
            let Some(Range { start: at, .. }) = matching::first_match(rule, within, hits, applies) else {
                continue;
            };
            let place =
                self.job.parts().get(part_at(at)).map(|part| part.place.to_string()).unwrap_or_default();
            let finding =
                Finding { category: rule.category, rule: rule.name, confidence: rule.confidence, place };
            let sentence = || rules.sentence(view, hits, at);
            let doubts = |sentence: Features| self.weights.score(&sentence).doubts(rule.confidence);
            let is_material = self.scopes.get(part_at(at)) != Some(&Scope::Asks);
            if is_material || !sentence().is_some_and(doubts) {
                self.firm.push(rule.name);
            }
            match known {
                Some(at) => self.found[at] = finding,
                None => self.found.push(finding),
            }
        }
        if let Some(features) = rules.features(self.job, view, hits, &self.scopes) {
            self.add_scored(self.weights.score(&features), None);
        }
        for (order, handicap) in orders(self.job, view, &self.scopes) {
            let part = part_at(order.end - 1);
            if let Some(features) = rules.features_of(view, hits, order) {
                self.add_order(self.weights.score(&features).less(handicap), part);
            }
        }
    }

    /// Weighs the order with which an input begins whose rest is material.
    fn weigh_first_order(&mut self, rules: &Rules) {
        let handled = self.scopes.first() == Some(&Scope::Any);
        let first = self.job.parts().first().filter(|part| handled && matches!(part.place, Place::Input(_)));
        if let Some(features) = first.and_then(|part| rules.order(&part.text)) {
            self.add_order(self.weights.score(&features).less(score::OF_ORDER), 0);
        }
    }

    /// Takes note of what the score says of an order in a part. One that reads honest says nothing of the whole.
    fn add_order(&mut self, scored: Scored, part: usize) {
        if scored.is_worth_a_word() {
            self.add_scored(scored, Some(part));
        }
    }

    fn add_scored(&mut self, scored: Scored, part: Option<usize>) {
        if self.scored.is_none_or(|known| scored.is_worse_than(known)) {
            (self.scored, self.scored_in) = (Some(scored), part);
        }
    }

    /// Whether what stands here in a long view reads like a request to the score. After so many looks what a rule says is
    /// believed: a text made of doubtful passages is no honest page.
    fn asks_in_passing(&self, rules: &Rules, rule: &Rule, view: &View, at: &Range<usize>) -> bool {
        let strong = rule.scope == Scope::Any || rule.confidence >= score::VERY_SURE;
        if !strong && view.text[at.clone()].contains(['.', '?']) {
            return false;
        }
        let least = match (strong, self.deep) {
            (true, _) => score::ASKS_STRONG,
            (false, false) => score::ASKS,
            (false, true) => score::ASKS_DEEP,
        };
        let place = (at.start, at.end, strong);
        if self.honest.borrow().contains(&place) {
            return false;
        }
        let looks = self.looks.get();
        if looks == 0 {
            return true;
        }
        self.looks.set(looks - 1);
        let asks =
            rules.passage(view, self.deep, at).is_none_or(|passage| self.weights.asks(&passage, least));
        if !asks {
            self.honest.borrow_mut().insert(place);
        }
        asks
    }

    /// What the rules found, with what the score says of it.
    fn weighed(mut self) -> Vec<Finding> {
        let Some(scored) = self.scored else { return self.found };
        let (found, firm) = (self.found.iter_mut(), &self.firm);
        let doubtful =
            |finding: &&mut Finding| !firm.contains(&finding.rule) && scored.doubts(finding.confidence);
        for finding in found.filter(doubtful) {
            finding.confidence = finding.confidence.min(score::DOUBTED);
        }
        if let Some(confidence) = scored.confidence() {
            self.add_score(scored.category, confidence);
        }
        self.found
    }

    /// Adds the score's finding where no rule's counts for as much.
    fn add_score(&mut self, category: Category, confidence: Confidence) {
        if self.found.iter().any(|finding| finding.confidence >= confidence) {
            return;
        }
        self.found.retain(|finding| finding.category != category);
        let parts = self.job.parts();
        let place = self.scored_in.and_then(|part| parts.get(part));
        let place = place.or_else(|| parts.iter().max_by_key(|part| part.text.len()));
        let place = place.map(|part| part.place.to_string()).unwrap_or_default();
        self.found.push(Finding { category, rule: score::name(category), confidence, place });
    }
}

/// The sentences of a view that hold this place.
fn sentences(text: &str, at: &Range<usize>) -> Range<usize> {
    let marks = ['.', '?'];
    let start = text[..at.start].rfind(marks).map_or(0, |mark| mark + 1);
    let end = text[at.end..].find(marks).map_or(text.len(), |mark| at.end + mark);
    start..end
}

/// Where in a view something may be asked for that the words around it hide, each with how much its score counts less:
/// parameters, alone and together with the inputs, and in a long job, of which no score weighs the whole, the sentences
/// where orders stand, at its beginning and its end.
fn orders(job: &Job<'_>, view: &View, scopes: &[Scope]) -> Vec<(Range<usize>, f32)> {
    if job.parts().iter().any(|part| part.place == Place::Result) {
        return Vec::new();
    }
    let end = |at: usize| view.starts.get(at + 1).copied().unwrap_or(view.text.len());
    let asks = |at: &usize| {
        matches!(job.parts()[*at].place, Place::Param(_)) && scopes.get(*at) == Some(&Scope::Asks)
    };
    let params =
        (0..job.parts().len().min(view.starts.len())).filter(asks).map(|at| view.starts[at]..end(at));
    let says = |part: &Range<usize>| {
        part.len() <= LONG_JOB && view.text[part.clone()].split(' ').count() > SETTING_WORDS
    };
    let said = params.filter(says).take(MOST_PARAMS);
    let mut orders: Vec<_> = said.map(|part| (part, score::OF_PARAM)).collect();
    if scopes.contains(&Scope::Any) {
        return orders;
    }
    if view.text.len() <= LONG_JOB {
        if !orders.is_empty() {
            orders.push((0..view.text.len(), score::OF_PARAM));
        }
        return orders;
    }
    let mut sentences: Vec<_> = all_sentences(&view.text[..inputs_end(job, view)]).collect();
    sentences.retain(|sentence| sentence.len() <= LONG_JOB);
    if sentences.len() > FIRST_SENTENCES + LAST_SENTENCES {
        sentences.drain(FIRST_SENTENCES..sentences.len() - LAST_SENTENCES);
    }
    orders.extend(sentences.into_iter().map(|sentence| (sentence, score::OF_SENTENCE)));
    orders
}

/// Every sentence of a view.
fn all_sentences(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split_inclusive(['.', '?']).map(move |sentence| {
        let range = start..start + sentence.len();
        start = range.end;
        range
    })
}

/// Where the inputs of a job end in a view of it. The words of parameters are no part of the whole: most are settings.
fn inputs_end(job: &Job<'_>, view: &View) -> usize {
    let is_param = |part: &Part<'_>| matches!(part.place, Place::Param(_));
    let first = job.parts().iter().position(is_param);
    first.and_then(|first| view.starts.get(first)).copied().unwrap_or(view.text.len())
}

/// The surest finding of each category in this job; empty if neither a rule nor the score found any.
pub(crate) fn check(job: &Job<'_>) -> Vec<Finding> {
    check_with(job, score::shipped())
}

/// The same with other weights than those that are shipped.
pub(crate) fn check_with(job: &Job<'_>, weights: &Weights) -> Vec<Finding> {
    RULES.check(job, weights)
}

/// What the score weighs in the plain view of this job.
pub(crate) fn features(job: &Job<'_>) -> Option<Features> {
    let plain = Unwrapped::of(job).plain();
    let hits = RULES.lexicon.hits(&plain);
    RULES.features(job, &plain, &hits, &RULES.scopes(job, &plain.starts, &hits))
}

/// The names of all rules with their categories, in the order of the files, and then those of the score: what a verdict
/// may cite.
pub fn rule_names() -> impl Iterator<Item = (Category, &'static str)> {
    let rules = RULES.rules.iter().map(|rule| (rule.category, rule.name));
    rules.chain(Category::ALL.into_iter().map(|category| (category, score::name(category))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_file_is_read_and_every_rule_has_a_name_of_its_own() {
        let mut names: Vec<_> = rule_names().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for category in Category::ALL {
            assert!(names.iter().any(|(of, _)| *of == category), "{category} has no rule");
        }
    }
}
