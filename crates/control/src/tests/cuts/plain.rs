//! Lines of logs as they are compared between two runs; the cuts and the scripted day of kills share it.

/// Without what is drawn or measured. How long an instance took to stop is known only to who saw it begin, and that its
/// last request has ended may be learnt when its time to drain is over: after a kill, or where time leaps.
pub(super) fn plain<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let bare = |word: &'a str| word.trim_end_matches(['.', ':', ',']);
    let is_id = |word: &str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words: Vec<&str> = words.into_iter().collect();
    let plain = words.iter().enumerate().map(|(at, word)| match bare(word) {
        id if is_id(id) => "ID",
        time if time.parse::<f64>().is_ok() && words.get(at + 1).is_some_and(|unit| bare(unit) == "s") => "N",
        _ => word,
    });
    let plain = plain.collect::<Vec<_>>().join(" ");
    plain
        .replace(" has stopped in N s.", " has stopped.")
        .replace(": its time to drain is over.", ": its last request has ended.")
}
