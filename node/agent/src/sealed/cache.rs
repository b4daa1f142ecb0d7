//! Recently opened pages, bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pages that stay open: 16 MiB, about the words and skip lists that one question touches in 500,000 blocks.
const PAGES: usize = 1024;

/// Which page of which open file; files are numbered as they are opened, and a number is never used again.
pub(super) type PageId = (u64, u64);

/// First in, first out, but a page that was used meanwhile stays for another round.
#[derive(Default)]
pub(super) struct Cache {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    pages: HashMap<PageId, (Arc<Vec<u8>>, bool)>,
    order: VecDeque<PageId>,
}

impl Cache {
    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic under this lock can at worst leave a page in `order` that is no longer in `pages`, which eviction passes over.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, id: PageId) -> Option<Arc<Vec<u8>>> {
        let mut held = self.held();
        let (page, used) = held.pages.get_mut(&id)?;
        *used = true;
        Some(Arc::clone(page))
    }

    pub(super) fn put(&self, id: PageId, page: Arc<Vec<u8>>) {
        let mut held = self.held();
        if held.pages.insert(id, (page, false)).is_some() {
            return;
        }
        held.order.push_back(id);
        while held.pages.len() > PAGES {
            let Some(oldest) = held.order.pop_front() else { return };
            match held.pages.get_mut(&oldest) {
                Some((_, used)) if *used => {
                    *used = false;
                    held.order.push_back(oldest);
                }
                _ => {
                    held.pages.remove(&oldest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::default();
        for page in 0..3 * PAGES as u64 {
            cache.put((1, page), Arc::new(vec![0]));
            assert!(cache.get((1, 0)).is_some(), "used in every round");
        }
        assert_eq!(cache.held().pages.len(), PAGES);
        assert_eq!(cache.held().order.len(), PAGES);
        assert!(cache.get((1, 1)).is_none());
    }
}
