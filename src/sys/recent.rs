//! What was used most recently, up to a number.

use lru::LruCache;
use std::hash::Hash;
use std::num::NonZeroUsize;

/// An empty cache for `most` things at most. Its table grows with what is in it, where that of
/// [`LruCache::new`] is made for all of them at once: most mounts never have so many.
pub fn recent<K: Hash + Eq, V>(most: NonZeroUsize) -> LruCache<K, V> {
    let mut cache = LruCache::unbounded();
    cache.resize(most);
    cache
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_was_used_last() {
        let mut cache = recent(NonZeroUsize::new(2).unwrap());
        assert_eq!(cache.push(1, 'a'), None);
        assert_eq!(cache.push(2, 'b'), None);
        assert_eq!(cache.get(&1), Some(&'a'));
        assert_eq!(cache.push(3, 'c'), Some((2, 'b')));
        assert_eq!((cache.len(), cache.cap().get()), (2, 2));
    }
}
