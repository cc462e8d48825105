//! Apps as a list shows them: one query a page, and one for how all of them stand.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError};
use crate::domain::{AppBrief, AppName, DeployBrief, Outcome, Standing};

/// So many deploys of each app are its history.
const HISTORY: usize = 20;

const PAGE: &str = "SELECT a.name, \
     (SELECT json_group_array(domain ORDER BY ordinal) FROM domains WHERE app_id = a.id) AS domains, \
     (SELECT json_group_array(json_object('id', id, 'commit', commit_id, 'subject', subject, \
       'author', author, 'status', status, 'queued_at', queued_at, 'started_at', started_at, \
       'finished_at', finished_at, \
       'took_ms', coalesce(live_ms, duration_ms + max(0, started_at - queued_at)), \
       'phase', (SELECT phase FROM phases WHERE deploy_id = d.id ORDER BY ordinal DESC LIMIT 1)) ORDER BY id) \
      FROM deploys d WHERE id IN ( \
       SELECT id FROM deploys WHERE app_id = a.id AND status IN ('queued', 'running', 'live') \
       UNION SELECT * FROM (SELECT id FROM deploys WHERE app_id = a.id \
        AND status NOT IN ('queued', 'running') ORDER BY id DESC LIMIT 1))) AS deploys, \
     (SELECT json_group_array(json_object('id', id, 'status', status, 'took_ms', took_ms) ORDER BY id) \
      FROM (SELECT id, status, coalesce(live_ms, duration_ms + max(0, started_at - queued_at)) AS took_ms \
       FROM deploys WHERE app_id = a.id ORDER BY id DESC LIMIT ?2 + 0)) AS history \
     FROM apps a WHERE a.name IN (SELECT value FROM json_each(?1)) ORDER BY a.name";

const STANDING: &str = "SELECT json_object( \
     'all', json((SELECT json_group_array(name ORDER BY name) FROM apps)), \
     'live', json((SELECT json_group_array(name) FROM apps a WHERE EXISTS ( \
       SELECT 1 FROM deploys WHERE app_id = a.id AND status = 'live'))), \
     'deploying', json((SELECT json_group_array(name) FROM apps WHERE id IN ( \
       SELECT app_id FROM deploys WHERE status IN ('queued', 'running')))), \
     'failed', json((SELECT json_group_array(name) FROM apps a WHERE ( \
       SELECT status FROM deploys WHERE app_id = a.id AND status NOT IN ('queued', 'running') \
       ORDER BY id DESC LIMIT 1) IN ('failed', 'interrupted'))), \
     'swapping', json((SELECT json_group_array(name) FROM apps WHERE id IN ( \
       SELECT app_id FROM deploys d WHERE status IN ('queued', 'running') AND EXISTS ( \
        SELECT 1 FROM phases WHERE deploy_id = d.id AND phase = 'swap' AND status = 'running')))))";

impl Store {
    /// These apps, by name, each with what a list shows of it. Those that are no more are left out.
    pub async fn overview(&self, names: &[AppName]) -> Result<Vec<AppBrief>, StoreError> {
        let names =
            serde_json::to_string(names).map_err(|_| StoreError::Unreadable("apps.name"))?;
        let rows = sqlx::query(PAGE)
            .bind(names)
            .bind(HISTORY as i64)
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    /// How all apps stand. It looks at each app, by indexes alone.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let standing: String = sqlx::query_scalar(STANDING).fetch_one(&self.reader).await?;
        serde_json::from_str(&standing).map_err(|_| StoreError::Unreadable("apps.name"))
    }
}

fn read(row: &SqliteRow) -> Result<AppBrief, StoreError> {
    let column = |name: &str| row.try_get::<String, _>(name);
    let bad = |what| move |_| StoreError::Unreadable(what);
    let deploys: Vec<DeployBrief> =
        serde_json::from_str(&column("deploys")?).map_err(bad("deploys"))?;
    let history: Vec<Outcome> =
        serde_json::from_str(&column("history")?).map_err(bad("deploys"))?;
    let open = deploys
        .iter()
        .filter(|deploy| deploy.status.is_open())
        .cloned()
        .collect();
    let live = deploys
        .iter()
        .find(|deploy| deploy.status == crate::domain::DeployStatus::Live)
        .cloned();
    Ok(AppBrief {
        name: column("name")?
            .parse()
            .map_err(|_| StoreError::Unreadable("apps.name"))?,
        domains: serde_json::from_str(&column("domains")?).map_err(bad("domains"))?,
        live,
        open,
        last: deploys.into_iter().rfind(|deploy| !deploy.status.is_open()),
        history,
    })
}

#[cfg(test)]
mod tests {
    use super::super::NewDeploy;
    use super::super::tests::scratch;
    use super::*;
    use crate::domain::{DeployEvent, DeployId, DeployStatus, Trigger};

    async fn deploy(store: &Store, app: &AppName, events: &[DeployEvent]) -> DeployId {
        let new = NewDeploy {
            app: app.clone(),
            commit: "a".repeat(40).parse().unwrap(),
            subject: "\"quoted\" \u{1f600}".into(),
            author: "Ada".into(),
            trigger: Trigger::Redeploy,
            actor: "ada".into(),
            source: None,
        };
        let (id, _) = store.queue_deploy(&new).await.unwrap();
        for event in events {
            store
                .change_deploy(id, *event, None, Some(7))
                .await
                .unwrap();
        }
        id
    }

    #[tokio::test]
    async fn a_page_of_apps_is_one_query_and_tells_how_each_stands() {
        use DeployEvent::{Fail, GoLive, Start};
        let (_dir, store) = scratch().await;
        let names: Vec<AppName> = ["blog", "empty", "shop"]
            .map(|name| name.parse().unwrap())
            .into();
        for (n, name) in names.iter().enumerate() {
            let domains = [format!("{name}.example.com").parse().unwrap()];
            store
                .create_app(name, &domains, format!("10.213.{n}.0/26").parse().unwrap())
                .await
                .unwrap();
        }
        let (blog, shop) = (&names[0], &names[2]);
        for _ in 0..HISTORY {
            deploy(&store, blog, &[Start, Fail]).await;
        }
        let live = deploy(&store, blog, &[Start, GoLive]).await;
        let failed = deploy(&store, blog, &[Start, Fail]).await;
        let first = deploy(&store, shop, &[Start, GoLive]).await;
        let runs = deploy(&store, shop, &[Start]).await;
        store
            .begin_phase(runs, 0, &"build".parse().unwrap())
            .await
            .unwrap();
        let waits = deploy(&store, shop, &[]).await;

        let seen = store.overview(&names).await.unwrap();
        let ids =
            |deploys: &[DeployBrief]| deploys.iter().map(|deploy| deploy.id).collect::<Vec<_>>();
        assert_eq!(
            seen.iter().map(|app| app.name.clone()).collect::<Vec<_>>(),
            names
        );
        assert_eq!(seen[0].live.as_ref().map(|live| live.id), Some(live));
        assert_eq!(
            seen[0].last.as_ref().map(|last| (last.id, last.status)),
            Some((failed, DeployStatus::Failed))
        );
        assert_eq!(
            (seen[0].history.len(), seen[0].history.last().unwrap().id),
            (HISTORY, failed)
        );
        assert!(seen[1].live.is_none() && seen[1].last.is_none() && seen[1].history.is_empty());
        assert_eq!(
            (ids(&seen[2].open), seen[2].last.as_ref().unwrap().id),
            (vec![runs, waits], first)
        );
        assert_eq!(seen[2].open[0].phase.as_deref(), Some("build"));
        assert_eq!(seen[2].open[0].subject, "\"quoted\" \u{1f600}");
        assert_eq!(store.overview(&names[1..2]).await.unwrap().len(), 1);

        let standing = store.standing().await.unwrap();
        assert_eq!(
            (standing.all, standing.live),
            (names.clone(), vec![blog.clone(), shop.clone()])
        );
        assert!(standing.swapping.is_empty());
        assert_eq!(
            (standing.deploying, standing.failed),
            (vec![shop.clone()], vec![blog.clone()])
        );
        store
            .begin_phase(runs, 1, &"swap".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(store.standing().await.unwrap().swapping, vec![shop.clone()]);
    }

    /// With a thousand apps a scan is what makes a page slow.
    #[tokio::test]
    async fn no_query_of_the_list_scans_deploys() {
        let (_dir, store) = scratch().await;
        for sql in [PAGE, STANDING] {
            let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            let plan = plan
                .bind("[]")
                .bind(1)
                .fetch_all(&store.reader)
                .await
                .unwrap();
            for row in plan {
                let step: String = row.get(3);
                let scans =
                    step.starts_with("SCAN") && (step.contains(" d") || step.contains("deploys"));
                assert!(!scans || step.contains("INDEX"), "{step}");
            }
        }
    }
}
