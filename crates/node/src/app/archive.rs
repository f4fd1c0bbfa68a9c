//! The jobs of a home as they were last written down: read by the app while a node runs, and by the program
//! while none does.

use std::{cmp::Reverse, sync::Arc};

use openagents_api::{JobView, Listing, MovementView, ReceiptQuery, ReceiptView, Side};
use openagents_types::{JobId, ProviderKey};

use super::{movements, receipts, view};
use crate::{
    home::Home,
    store::{Page, Reader, StoreError},
};

/// See the module. Clones share the database.
#[derive(Clone, Debug)]
pub struct Archive {
    reader: Arc<Reader>,
    /// Who sells here, if that is known without unlocking a key.
    provider: Option<ProviderKey>,
}

impl Archive {
    /// The archive of a home; `None` if no node has ever run in it.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn open(home: &Home) -> Result<Option<Self>, StoreError> {
        let path = home.data_file("node.db");
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Self::new(Arc::new(Reader::open(&path)?), None)))
    }

    pub(super) const fn new(reader: Arc<Reader>, provider: Option<ProviderKey>) -> Self {
        Self { reader, provider }
    }

    /// Jobs of both halves, or of one, newest first: `usual` of them unless the listing says how many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn jobs(&self, wanted: &Listing, usual: u32) -> Result<Vec<JobView>, StoreError> {
        let limit = wanted.limit.unwrap_or(usual);
        let page = Page { limit, open: wanted.open, after: wanted.after };
        let mut views = Vec::new();
        if wanted.side != Some(Side::Bought) {
            views.extend(self.reader.jobs(page)?.iter().map(|job| view::sold(job, self.provider)));
        }
        if wanted.side != Some(Side::Sold) {
            views.extend(self.reader.asks(page)?.iter().map(view::bought));
        }
        views.sort_by_key(|job| Reverse(job.asked_at));
        views.truncate(limit as usize);
        Ok(views)
    }

    /// One job; where a node bought from itself and no side is named, the bought half.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn job(&self, id: JobId, side: Option<Side>) -> Result<Option<JobView>, StoreError> {
        if side != Some(Side::Sold)
            && let Some(ask) = self.reader.ask(id)?
        {
            return Ok(Some(view::bought(&ask)));
        }
        if side == Some(Side::Bought) {
            return Ok(None);
        }
        Ok(self.reader.job(id)?.map(|job| view::sold(&job, self.provider)))
    }

    /// Every movement of money, every payment under way and every one that came back, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn movements(&self) -> Result<Vec<MovementView>, StoreError> {
        movements::all(&self.reader)
    }

    /// Every payment that is locked or under way, in either direction.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending(&self) -> Result<Vec<MovementView>, StoreError> {
        movements::pending(&self.reader)
    }

    /// Receipts, newest first: `usual` of them unless the query says how many.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn receipts(&self, wanted: &ReceiptQuery, usual: u32) -> Result<Vec<ReceiptView>, StoreError> {
        let rows = self.reader.receipts(wanted.side, wanted.after, wanted.limit.unwrap_or(usual))?;
        Ok(rows.iter().map(receipts::view).collect())
    }

    /// The receipt of a job; where a node bought from itself and no side is named, the bought half's.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn receipt(&self, job: JobId, side: Option<Side>) -> Result<Option<ReceiptView>, StoreError> {
        let sides = match side {
            Some(side) => vec![side],
            None => vec![Side::Bought, Side::Sold],
        };
        for side in sides {
            if let Some(row) = self.reader.receipt(job, side)? {
                return Ok(Some(receipts::view(&row)));
            }
        }
        Ok(None)
    }

    /// The payload of a result we bought.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn result(&self, id: JobId) -> Result<Option<String>, StoreError> {
        self.reader.content(id)
    }
}
