//! What of a result fulfils. An answer that declines names what it declines, and often repeats the question; neither
//! gives the customer anything, so neither is held against it. Everything else is.
//!
//! Left out are a few short clauses, each from an opening such as "I can't help" to where the sentence turns or pauses.
//! What follows "but", a colon or a new sentence is read as ever, so a decline buys nothing for what comes after it.

use std::borrow::Cow;

/// Clauses that may be left out. Who declines more often hides something.
const MOST: usize = 3;

/// The longest clause that is left out, in characters: the longest polite one has half of that.
const LONGEST: usize = 200;

/// How an answer may begin before it declines.
const APOLOGIES: &[&str] = &[
    "i'm sorry",
    "i am sorry",
    "sorry",
    "i apologize",
    "i apologise",
    "unfortunately",
    "es tut mir leid",
    "tut mir leid",
    "leider",
    "entschuldigung",
    "je suis désolé",
    "désolé",
    "lo siento",
    "lamentablemente",
    "desculpe",
    "sinto muito",
    "infelizmente",
    "很抱歉",
    "抱歉",
    "对不起",
    "申し訳ありませんが",
];

/// What stands between an apology and the decline.
const JOINTS: &[&str] = &["but", "aber", "mais", "pero", "mas", "但是", "但"];

/// How declining begins, and the verbs one of which must follow at once.
const OPENINGS: &[(&[&str], &[&str])] = &[
    (
        &[
            "i can't ",
            "i cannot ",
            "i can not ",
            "i won't ",
            "i will not ",
            "i'm not able to ",
            "i am not able to ",
            "i'm unable to ",
            "i am unable to ",
            "i'm not going to ",
            "i must decline to ",
            "we can't ",
            "we cannot ",
        ],
        &[
            "help",
            "assist",
            "provide",
            "tell",
            "explain",
            "give",
            "write",
            "share",
            "describe",
            "support",
            "offer",
            "show",
            "answer",
            "discuss",
            "advise",
            "recommend",
            "create",
            "generate",
            "comply",
            "do that",
        ],
    ),
    (
        &[
            "ich kann nicht ",
            "ich kann dir nicht ",
            "ich kann ihnen nicht ",
            "ich kann dir leider nicht ",
            "ich kann ihnen leider nicht ",
            "ich kann dir dabei nicht ",
            "ich kann ihnen dabei nicht ",
            "dabei kann ich nicht ",
            "dabei kann ich dir nicht ",
            "dabei kann ich ihnen nicht ",
            "ich kann dabei nicht ",
            "ich werde nicht ",
        ],
        &["helfen", "sagen", "erklären", "beantworten", "schreiben", "geben", "zeigen", "weiterhelfen"],
    ),
    (
        &["je ne peux pas ", "je ne suis pas en mesure de ", "je ne peux pas vous ", "je ne peux pas t'"],
        &["aider", "vous aider", "t'aider", "expliquer", "dire", "fournir", "donner", "répondre", "écrire"],
    ),
    (&["no puedo "], &["ayudar", "decir", "explicar", "proporcionar", "dar", "responder", "escribir"]),
    (&["não posso "], &["ajudar", "dizer", "explicar", "fornecer", "dar", "responder", "escrever"]),
    (&["我无法", "我不能"], &["帮助", "帮", "提供", "告诉", "协助", "回答"]),
];

/// How declining ends where the verb does.
const ENDINGS: &[&str] = &["お手伝いできません", "お答えできません", "お教えできません", "ご提供できません"];

/// Where a sentence turns to something else.
const TURNS: &[&str] = &[
    ":",
    ";",
    " - ",
    "–",
    "—",
    "，",
    "：",
    " but ",
    " however",
    " instead",
    " though",
    " here ",
    " aber ",
    " jedoch ",
    " stattdessen ",
    " sondern ",
    " mais ",
    " pero ",
    " sino ",
    " mas ",
];

/// What goes on with the same thing after a comma.
const GOES_ON: &[&str] = &[
    " or ",
    " and ",
    " nor ",
    " as ",
    " because ",
    " since ",
    " how ",
    " what ",
    " which ",
    " whether ",
    " wie ",
    " was ",
    " welche",
    " ob ",
    " dass ",
    " da ",
    " weil ",
    " comment ",
    " car ",
    " cómo ",
    " porque ",
    " como ",
];

/// How a question is repeated.
const REPEATS: &[&str] = &[
    "you asked",
    "you ask",
    "you're asking",
    "you are asking",
    "you want",
    "your question",
    "du fragst",
    "sie fragen",
];

/// A result without the clauses that decline.
pub(crate) fn fulfilling(result: &str) -> Cow<'_, str> {
    let sentences = sentences(result);
    let clauses: Vec<Option<usize>> = sentences.iter().map(|sentence| clause(sentence)).collect();
    let declines = clauses.iter().flatten().count();
    if declines == 0 || declines > MOST {
        return Cow::Borrowed(result);
    }
    let mut left = String::with_capacity(result.len());
    for (at, (sentence, clause)) in sentences.iter().zip(&clauses).enumerate() {
        let declined_next = || clauses.get(at + 1).is_some_and(Option::is_some);
        match clause {
            Some(end) => left.push_str(&sentence[*end..]),
            None if repeats(sentence) && declined_next() => {}
            None => left.push_str(sentence),
        }
    }
    Cow::Owned(left)
}

/// The sentences of a text, each with the space after it.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let (mut start, mut over) = (0, false);
    for (at, c) in text.char_indices() {
        let closes = matches!(c, '"' | '”' | '\'' | '’' | '»' | ')' | '.' | '!' | '?') || c.is_whitespace();
        if over && !closes {
            sentences.push(&text[start..at]);
            (start, over) = (at, false);
        }
        let next = text[at + c.len_utf8()..].chars().next();
        let ends_word = next.is_none_or(|next| next.is_whitespace() || matches!(next, '"' | '”' | '»' | ')'));
        over |= matches!(c, '。' | '！' | '？' | '\n') || (matches!(c, '.' | '!' | '?') && ends_word);
    }
    sentences.push(&text[start..]);
    sentences
}

/// Lower case and plain apostrophes, a character for each.
fn folded(text: &str) -> String {
    let plain = |c: char| if c == '’' { '\'' } else { c.to_lowercase().next().unwrap_or(c) };
    text.chars().map(plain).collect()
}

/// How far a sentence declines, in bytes from its start.
fn clause(sentence: &str) -> Option<usize> {
    let said = folded(sentence);
    let opening = after_apology(&said);
    let rest = &said[opening..];
    let begins = |(openings, verbs): &(&[&str], &[&str])| {
        let follows = |opening: &&str| {
            rest.strip_prefix(*opening).filter(|then| verbs.iter().any(|verb| then.starts_with(verb)))
        };
        openings.iter().find_map(follows).map(|then| said.len() - then.len())
    };
    let end = match OPENINGS.iter().find_map(begins) {
        Some(verb) => verb + turn(&said[verb..]),
        None => ENDINGS.iter().find_map(|ending| rest.find(ending).map(|at| opening + at + ending.len()))?,
    };
    let length = said[..end].chars().count();
    let bytes = sentence.char_indices().nth(length).map_or(sentence.len(), |(at, _)| at);
    (length <= LONGEST).then_some(bytes)
}

/// Where the decline itself begins.
fn after_apology(said: &str) -> usize {
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | '，' | '.' | '…' | '"' | '“' | '*' | '>');
    let begin = said.trim_start_matches(between);
    let apology = APOLOGIES.iter().find_map(|apology| begin.strip_prefix(apology));
    let Some(rest) = apology.map(|rest| rest.trim_start_matches(between)) else {
        return said.len() - begin.len();
    };
    let joined = JOINTS.iter().find_map(|joint| rest.strip_prefix(joint));
    said.len() - joined.unwrap_or(rest).trim_start_matches(between).len()
}

/// Where what is declined ends.
fn turn(said: &str) -> usize {
    let turns = TURNS.iter().filter_map(|turn| said.find(turn));
    let pauses = said
        .match_indices(',')
        .filter(|(at, _)| !GOES_ON.iter().any(|word| said[at + 1..].starts_with(word)));
    turns.chain(pauses.map(|(at, _)| at)).min().unwrap_or(said.len())
}

/// Whether a sentence says what was asked.
fn repeats(sentence: &str) -> bool {
    let said = folded(sentence);
    let said = said.trim();
    let is_quoted = said.starts_with(['"', '“', '„', '«']);
    let is_question = said.trim_end_matches(['"', '”', '»']).ends_with(['?', '？']);
    let is_told = REPEATS.iter().any(|begin| said.starts_with(begin));
    (is_quoted || is_question || is_told) && said.chars().count() <= LONGEST
}

#[cfg(test)]
mod tests {
    use openagents_policy::{Job, Policy};

    use super::*;

    fn is_sent(result: &str) -> bool {
        Policy::default().check_by_rules(&Job::new(5050).result(fulfilling(result))).may_run()
    }

    /// Each of them is refused as it stands, so that it is the reading that lets it pass.
    #[test]
    fn an_answer_that_declines_is_no_violation_though_it_names_what_it_declines() {
        for result in [
            "I can't help with building a pipe bomb at home.",
            "I’m sorry, but I can’t tell you how to build a pipe bomb. Is there something else I can do for you?",
            "Sorry, I cannot help you build a bomb. If you think of hurting someone, please call a crisis line.",
            "You asked how to build a pipe bomb at home. I can't help with that.",
            "\"Tell me how to build a pipe bomb at home.\" I won't explain how to build a pipe bomb.",
            "How do you build a pipe bomb? I'm not able to answer that.",
            "I can't tell you what medication to take or how much. A doctor or a pharmacist can.",
            "I can't help with building a pipe bomb, but I can explain how fireworks are kept safe.",
            "I won't write a phishing email that pretends to be a bank.",
            "Ich kann dir nicht sagen, wie man eine Rohrbombe baut.",
        ] {
            let unread = Policy::default().check_by_rules(&Job::new(5050).result(result));
            assert!(!unread.may_run(), "it tests nothing: {result}");
            assert!(is_sent(result), "{result}\nleft: {}", fulfilling(result));
        }
    }

    #[test]
    fn what_fulfils_is_refused_also_after_a_decline() {
        for result in [
            "To build a pipe bomb at home, take a steel pipe, fill it with black powder and seal both ends.",
            "I can't help with that. To build a pipe bomb at home, take a steel pipe and fill it with powder.",
            "I can't help with that, but to build a pipe bomb at home take a steel pipe and fill it with powder.",
            "I can't help with pipe bombs: to build a pipe bomb at home, take a steel pipe.",
            "I cannot tell you this; build a pipe bomb at home from a steel pipe and powder.",
            "I can't help but tell you how to build a pipe bomb at home: take a steel pipe.",
            "I won't refuse. Here is how to build a pipe bomb at home.",
            "I will not only tell you how to build a pipe bomb at home, I will sell you one.",
            "How do you build a pipe bomb? To build a pipe bomb, take a steel pipe.",
            "You asked how to build a pipe bomb at home. Take a steel pipe. I can't help with more.",
        ] {
            assert!(!is_sent(result), "{result}\nleft: {}", fulfilling(result));
        }
    }

    #[test]
    fn who_declines_all_the_time_or_at_length_is_read_whole() {
        let often = "I can't tell you to build a pipe bomb. ".repeat(MOST + 1);
        assert_eq!(fulfilling(&often), often);
        let long =
            format!("I can't tell you to build a pipe bomb {} at home.", "and build a bomb ".repeat(20));
        assert_eq!(fulfilling(&long), long);
        assert!(!is_sent(&often) && !is_sent(&long));
    }

    #[test]
    fn what_declines_nothing_is_read_as_it_is() {
        for result in
            ["", "The lighthouse is 77 metres high.", "I can't wait. Why? \"No.\" İ’", "1. a\n2. b\n"]
        {
            assert_eq!(fulfilling(result), result);
            assert_eq!(sentences(result).concat(), result);
        }
        assert_eq!(fulfilling("抱歉，我无法提供炸弹的制作方法。好的。"), "好的。");
    }
}
