//! Lines on their way to the logs: written with the rows they tell of, taken out once the logs have them.
//! A kill between the two repeats a line, and never loses one.

use crate::error::StoreError;
use crate::open::Store;
use crate::rows::{Columns, Row, Tx, int, json};
use crate::sql::query;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::Line;
use apron_model::time::WallTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLine {
    pub seq: u64,
    pub service: ServiceId,
    /// None for what happened between operations.
    pub operation: Option<OperationId>,
    pub at: WallTime,
    pub line: Line,
}

impl Store {
    /// The oldest lines that the logs may not have yet, in order. A row that cannot be read is taken out with an error
    /// in the platform's log: it would stand before all others for ever.
    pub async fn line_list(&self, max: u32) -> Result<Vec<PendingLine>, StoreError> {
        loop {
            let list = query("SELECT * FROM line ORDER BY seq LIMIT $1").bind(i64::from(max));
            let rows = list.fetch_all(&mut *self.read().await?).await?;
            let (mut lines, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
            for row in &rows {
                match pending(row) {
                    Ok(line) => lines.push(line),
                    Err(error) => unreadable.push((Columns { table: "line", row }.get::<i64>("seq")?, error)),
                }
            }
            if unreadable.is_empty() {
                return Ok(lines);
            }
            let mut tx = self.write().await?;
            for (seq, _) in &unreadable {
                query("DELETE FROM line WHERE seq = $1").bind(*seq).execute(&mut tx).await?;
            }
            tx.commit().await?;
            for (seq, error) in unreadable {
                tracing::error!(seq, %error, "a line for the logs cannot be read and is left out");
            }
        }
    }

    /// The logs have every line up to and with this one.
    pub async fn line_forget(&self, seq: u64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("DELETE FROM line WHERE seq <= $1").bind(int(seq)).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn pending(row: &Row) -> Result<PendingLine, StoreError> {
    let columns = Columns { table: "line", row };
    Ok(PendingLine {
        seq: columns.count("seq")?,
        service: ServiceId::new(columns.get::<String>("service")?),
        operation: columns.get::<Option<String>>("operation")?.map(OperationId::new),
        at: columns.wall("at")?,
        line: columns.json("line")?,
    })
}

pub(crate) async fn append(
    tx: &mut Tx,
    service: &ServiceId,
    operation: Option<&OperationId>,
    at: WallTime,
    line: &Line,
) -> Result<(), StoreError> {
    query("INSERT INTO line (service, operation, at, line) VALUES ($1, $2, $3, $4)")
        .bind(service.as_str())
        .bind(operation.map(OperationId::as_str))
        .bind(int(at.0))
        .bind(json(line))
        .execute(tx)
        .await?;
    Ok(())
}
