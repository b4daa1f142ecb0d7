//! One moment of the store: what was committed, under what the current batch and the current change have written.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use klp::SecretKey;
use klp::codec::Cbor;

use crate::error::StoreError;
use crate::table::{ROW, Table, TableKeys, damaged};

/// Row keys and plain values; `None` removes the row.
pub(crate) type Overlay = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;
/// Row keys and sealed values.
pub(crate) type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

type DiskTable = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(crate) fn definition(table: Table) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
    redb::TableDefinition::new(table.name())
}

/// What was committed when this view was made.
pub(crate) enum Base {
    Disk(Box<DiskBase>),
    Memory(Arc<Rows>),
}

pub(crate) struct DiskBase {
    transaction: redb::ReadTransaction,
    tables: Vec<OnceCell<DiskTable>>,
}

impl Base {
    pub(crate) fn disk(transaction: redb::ReadTransaction) -> Self {
        Self::Disk(Box::new(DiskBase { transaction, tables: Table::ALL.iter().map(|_| OnceCell::new()).collect() }))
    }
}

impl DiskBase {
    fn table(&self, table: Table) -> Result<&DiskTable, StoreError> {
        let cell = &self.tables[table as usize];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.transaction.open_table(definition(table)).map_err(redb::Error::from)?;
        Ok(cell.get_or_init(|| open))
    }
}

/// What every view shares: the keys of the tables and the key that signs checkpoints.
pub(crate) struct Shared {
    pub(crate) keys: TableKeys,
    pub(crate) audit: SecretKey,
}

/// One moment of the store, for reading. It stays as it is while others write.
pub struct View {
    pub(crate) shared: Arc<Shared>,
    base: Base,
    batch: Overlay,
    own: Overlay,
}

/// One change of the store. It sees what it wrote itself; nobody else does until all of it is durable.
pub struct Tx(View);

/// A value as it lies in its layer.
enum Row<'a> {
    Written(&'a [u8]),
    Sealed(&'a [u8]),
}

/// Direction of a scan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Up,
    Down,
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>, base: Base) -> Self {
        Self { shared, base, batch: Overlay::new(), own: Overlay::new() }
    }

    /// The row key of something that must not be read off the disk.
    pub(crate) fn hidden(&self, table: Table, parts: &[&[u8]]) -> [u8; 32] {
        self.shared.keys.hidden(table, parts)
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let place = (table, key.to_vec());
        if let Some(written) = self.own.get(&place).or_else(|| self.batch.get(&place)) {
            return Ok(written.clone());
        }
        match &self.base {
            Base::Memory(rows) => rows.get(&place).map(|sealed| self.open(table, key, sealed)).transpose(),
            Base::Disk(disk) => {
                let row = disk.table(table)?.get(key).map_err(redb::Error::from)?;
                row.map(|sealed| self.open(table, key, sealed.value())).transpose()
            }
        }
    }

    /// A value of a type of ours.
    pub(crate) fn load<T: Cbor>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(table, key)?.map(|bytes| decode(table, key, &bytes)).transpose()
    }

    fn open(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.shared.keys.open(table, key, sealed)
    }

    /// Visits the rows of a range until `visit` says false.
    pub(crate) fn scan(
        &self,
        table: Table,
        range: impl RangeBounds<Vec<u8>>,
        order: Order,
        mut visit: impl FnMut(&[u8], Vec<u8>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        self.merge(table, bounds, order, |key, value| {
            let plain = match value {
                Row::Written(plain) => plain.to_vec(),
                Row::Sealed(sealed) => self.open(table, key, sealed)?,
            };
            visit(key, plain)
        })
    }

    /// Visits the rows of all layers as if they were one.
    fn merge(
        &self,
        table: Table,
        bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        order: Order,
        mut visit: impl FnMut(&[u8], Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let placed = place(table, &bounds);
        let mut written: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for layer in [&self.batch, &self.own] {
            written.extend(layer.range(placed.clone()).map(|((_, key), value)| (&key[..], value.as_deref())));
        }
        let mut written: Vec<_> = written.into_iter().collect();
        if order == Order::Up {
            written.reverse();
        }
        // `written` is now a stack whose top comes first. It goes in front of the base row that it precedes or replaces.
        let mut base_row = |key: &[u8], sealed: &[u8]| -> Result<bool, StoreError> {
            while let Some((over, value)) = written.last() {
                let first = if order == Order::Up { *over <= key } else { *over >= key };
                if !first {
                    break;
                }
                let (over, value) = (*over, *value);
                written.pop();
                if let Some(value) = value
                    && !visit(over, Row::Written(value))?
                {
                    return Ok(false);
                }
                if over == key {
                    return Ok(true);
                }
            }
            visit(key, Row::Sealed(sealed))
        };
        if !self.base.walk(table, &bounds, order, &mut base_row)? {
            return Ok(());
        }
        for (over, value) in written.into_iter().rev() {
            if let Some(value) = value
                && !visit(over, Row::Written(value))?
            {
                break;
            }
        }
        Ok(())
    }

    /// At most `limit` values of a whole table, in the order of their row keys.
    pub(crate) fn all<T: Cbor>(&self, table: Table, limit: usize) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.scan(table, .., Order::Up, |key, bytes| {
            if found.len() < limit {
                found.push(decode(table, key, &bytes)?);
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Visits the keys of a table without opening its values.
    pub(crate) fn keys(
        &self,
        table: Table,
        order: Order,
        mut visit: impl FnMut(&[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.merge(table, (Bound::Unbounded, Bound::Unbounded), order, |key, _| visit(key))
    }
}

impl Base {
    /// Visits rows; false when `visit` ended it.
    fn walk(
        &self,
        table: Table,
        bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>),
        order: Order,
        visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Memory(rows) => {
                let mut range = rows.range(place(table, bounds));
                let mut next = || if order == Order::Up { range.next() } else { range.next_back() };
                while let Some(((_, key), sealed)) = next() {
                    if !visit(key, sealed)? {
                        return Ok(false);
                    }
                }
            }
            Self::Disk(disk) => {
                let (from, to) = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
                let mut range = disk.table(table)?.range::<&[u8]>((from, to)).map_err(redb::Error::from)?;
                let mut next = || if order == Order::Up { range.next() } else { range.next_back() };
                while let Some(row) = next() {
                    let (key, sealed) = row.map_err(redb::Error::from)?;
                    if !visit(key.value(), sealed.value())? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

type Place = (Table, Vec<u8>);

fn place(table: Table, bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> (Bound<Place>, Bound<Place>) {
    let from = match &bounds.0 {
        Bound::Unbounded => Bound::Included((table, Vec::new())),
        bound => bound.clone().map(|key| (table, key)),
    };
    let to = match &bounds.1 {
        Bound::Unbounded => match Table::ALL.get(table as usize + 1) {
            Some(next) => Bound::Excluded((*next, Vec::new())),
            None => Bound::Unbounded,
        },
        bound => bound.clone().map(|key| (table, key)),
    };
    (from, to)
}

pub(crate) fn decode<T: Cbor>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    T::from_bytes(bytes, ROW).map_err(|_| damaged(table, key))
}

impl Tx {
    pub(crate) fn new(view: View) -> Self {
        Self(view)
    }

    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.0.own.insert((table, key.to_vec()), Some(value));
    }

    /// Stores a value of a type of ours.
    pub(crate) fn save(&mut self, table: Table, key: &[u8], value: &impl Cbor) {
        self.put(table, key, value.to_bytes());
    }

    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        self.0.own.insert((table, key.to_vec()), None);
    }

    /// Takes what the current change wrote into the batch.
    pub(crate) fn keep(&mut self) {
        let own = std::mem::take(&mut self.0.own);
        self.0.batch.extend(own);
    }

    /// Forgets what the current change wrote.
    pub(crate) fn forget(&mut self) {
        self.0.own.clear();
    }

    /// All that the batch wrote, at its end.
    pub(crate) fn into_batch(self) -> Overlay {
        self.0.batch
    }

    pub(crate) fn batch(&self) -> &Overlay {
        &self.0.batch
    }
}

impl Deref for Tx {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}
