//! All patterns that begin where a word begins, as one tree of bytes. A walk from each beginning of a word leaves the
//! tree after a few bytes, so that a text of ordinary words costs far less than an automaton that weighs every byte.

use std::{collections::BTreeMap, ops::Range};

/// A tree of patterns, in breadth-first order, so that the children of a node lie side by side.
#[derive(Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to each node.
    labels: Vec<u8>,
    /// The children of the root by their bytes; 0 for none, because the root is nobody's child.
    roots: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Node {
    first_child: u32,
    children: u16,
    /// One more than the number of the pattern that ends here; 0 for none.
    pattern: u32,
}

impl Trie {
    /// The tree of these patterns; each is known by its place in the order of the map.
    pub(super) fn new<T>(patterns: &BTreeMap<String, T>) -> Self {
        let keys: Vec<&[u8]> = patterns.keys().map(String::as_bytes).collect();
        let mut trie = Self { nodes: vec![Node::default()], labels: vec![0], roots: vec![0; 256] };
        // Which keys stand below each node, and how deep it lies.
        let mut below: Vec<(Range<usize>, usize)> = vec![(0..keys.len(), 0)];
        let mut node = 0;
        while node < below.len() {
            let (range, depth) = below[node].clone();
            trie.grow(node, &keys, range, depth, &mut below);
            node += 1;
        }
        let root = trie.nodes[0];
        for child in root.first_child..root.first_child + u32::from(root.children) {
            trie.roots[usize::from(trie.labels[child as usize])] = child;
        }
        trie
    }

    fn grow(
        &mut self,
        node: usize,
        keys: &[&[u8]],
        mut range: Range<usize>,
        depth: usize,
        below: &mut Vec<(Range<usize>, usize)>,
    ) {
        let first_child = place(self.nodes.len());
        if keys.get(range.start).is_some_and(|key| range.start < range.end && key.len() == depth) {
            self.nodes[node].pattern = place(range.start + 1);
            range.start += 1;
        }
        let mut children = 0;
        while range.start < range.end {
            let byte = keys[range.start][depth];
            let same = keys[range.clone()].partition_point(|key| key[depth] == byte);
            self.nodes.push(Node::default());
            self.labels.push(byte);
            below.push((range.start..range.start + same, depth + 1));
            range.start += same;
            children += 1;
        }
        self.nodes[node].first_child = first_child;
        self.nodes[node].children = children;
    }

    /// Calls `hit` with the number and the end of every pattern that begins at `start`.
    pub(super) fn walk(&self, text: &[u8], start: usize, mut hit: impl FnMut(usize, usize)) {
        let Some(first) = text.get(start) else { return };
        let mut node = self.roots.get(usize::from(*first)).copied().unwrap_or_default() as usize;
        let mut end = start + 1;
        while node != 0 {
            let Node { first_child, children, pattern } = self.nodes[node];
            if pattern != 0 {
                hit(pattern as usize - 1, end);
            }
            let Some(byte) = text.get(end) else { return };
            let from = first_child as usize;
            let next = self.labels[from..from + usize::from(children)].iter().position(|label| label == byte);
            node = next.map_or(0, |at| from + at);
            end += 1;
        }
    }
}

/// A number of a node or pattern; there are some hundred thousand at most.
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_every_pattern_that_begins_there_and_no_other() {
        let patterns = ["bo", "bomb", "bombs", "a bomb", "é"].map(|word| (word.to_owned(), ())).into();
        let trie = Trie::new(&patterns);
        let names: Vec<&String> = patterns.keys().collect();
        let found = |text: &str, start: usize| {
            let mut found = Vec::new();
            trie.walk(text.as_bytes(), start, |pattern, end| found.push((names[pattern].clone(), end)));
            found
        };
        assert_eq!(found("a bombx", 2), [("bo".to_owned(), 4), ("bomb".to_owned(), 6)]);
        assert_eq!(found("a bombx", 0), [("a bomb".to_owned(), 6)]);
        assert_eq!(found("é", 0), [("é".to_owned(), 2)]);
        assert_eq!((found("omb", 0), found("", 0)), (vec![], vec![]));
        Trie::new(&BTreeMap::<String, ()>::new()).walk(b"a", 0, |_, _| unreachable!("nothing to find"));
    }
}
