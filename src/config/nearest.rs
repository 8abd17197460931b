//! The nearest known word to one that is not known.

/// The candidate with the fewest insertions, deletions, replacements and swaps of neighbours; the first of equals.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes by thousands of letters, and the cost grows with the square.
    let word: Vec<char> = word.chars().take(100).collect();
    candidates
        .into_iter()
        .min_by_key(|candidate| distance(&word, candidate))
}

fn distance(word: &[char], other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let same = |a: char, b: char| a.eq_ignore_ascii_case(&b) || (is_dash(a) && is_dash(b));
    let mut before: Vec<usize> = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in word.iter().enumerate() {
        let mut row = vec![i + 1; other.len() + 1];
        for (j, &b) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(!same(a, b));
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && same(a, other[j - 1]) && same(word[i - 1], b);
            if swapped {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[other.len()]
}

fn is_dash(c: char) -> bool {
    c == '-' || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word_that_was_meant() {
        let known = ["poll", "path", "order", "ready_after", "retire"];
        for (word, meant) in [
            ("pol", "poll"),
            ("paht", "path"),
            ("ready-after", "ready_after"),
            ("ORDER", "order"),
            ("retires", "retire"),
        ] {
            assert_eq!(nearest(word, known), Some(meant), "{word}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
