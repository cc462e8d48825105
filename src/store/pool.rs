//! Connections to the database. Whoever waits for one, or for an answer, holds a simulation's clock.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use sqlx::sqlite::{SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, SqlStr, Sqlite, SqlitePool, Transaction};

use crate::clock::Held;

/// A pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pool: SqlitePool,
    #[cfg(any(test, feature = "testing"))]
    chaos: Option<crate::chaos::Chaos>,
}

impl Pool {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            #[cfg(any(test, feature = "testing"))]
            chaos: None,
        }
    }

    /// Each use of it is a step of the server's.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn with_chaos(self, chaos: crate::chaos::Chaos) -> Self {
        Self {
            chaos: Some(chaos),
            ..self
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Before each use; held until that has ended.
    async fn step(&self) -> Held {
        #[cfg(any(test, feature = "testing"))]
        if let Some(chaos) = &self.chaos {
            chaos.step("a query").await;
        }
        Held::new()
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        let _held = self.step().await;
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<SqliteQueryResult, SqliteRow>, Error>>
    where
        E: 'q + Execute<'q, Self::Database>,
    {
        let own = self.clone();
        let rows = async move {
            let held = own.step().await;
            let rows = own.pool.fetch_many(query);
            rows.map_ok(move |row| {
                // It lives as long as the rows are read.
                let _ = &held;
                row
            })
        };
        rows.flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<SqliteRow>, Error>>
    where
        E: 'q + Execute<'q, Self::Database>,
    {
        let own = self.clone();
        Box::pin(async move {
            let _held = own.step().await;
            own.pool.fetch_optional(query).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement, Error>>
    where
        'p: 'e,
    {
        let own = self.clone();
        Box::pin(async move { own.pool.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Sqlite>, Error>> {
        let own = self.clone();
        Box::pin(async move { own.pool.describe(sql).await })
    }
}
