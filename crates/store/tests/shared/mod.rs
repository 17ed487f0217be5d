//! What services share, and what is forgotten: every statement of it is understood by both databases.

use super::{Database, created, draw};
use apron_model::custom_domain::CustomDomain;
use apron_model::ids::{ResourceId, ServiceId};
use apron_model::resource::*;
use apron_model::service::State;
use apron_model::time::{Timestamp, WallTime};
use apron_store::*;
use std::collections::BTreeMap;

const REGION: &str = "us-east-1";

fn connection(id: &str, name: &str, deleted_at: Option<WallTime>) -> Resource {
    Resource {
        id: ResourceId::new(id),
        region: REGION.to_owned(),
        name: name.to_owned(),
        revision: 1,
        created_at: WallTime(5),
        deleted_at,
        purge_at: deleted_at.map(|at| Timestamp(at.0)),
        tags: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        body: Body::Connection(Connection { provider: "GITHUB".to_owned(), completed: false }),
    }
}

async fn put(store: &Store, resource: Resource, secret: Option<ConnectionSecret>) -> Result<(), StoreError> {
    let secret = secret.map(|secret| (resource.id.clone(), secret));
    let (kind, name) = (resource.kind(), resource.name.clone());
    let writes = ResourceWrites { resources: vec![resource], default_scaling: None, secret };
    store.resource_act(kind, REGION, &name, |_| Ok::<_, ()>((writes, ()))).await?.unwrap();
    Ok(())
}

pub(super) async fn resources_come_and_go(database: Database) {
    let store = database.open().await;
    for _ in 0..2 {}
    let default = store.scaling_default_get(REGION).await.unwrap().unwrap();
    assert_eq!((default.resource.id.as_str(), default.is_default, default.latest), (BUILT_IN_ID, true, true));
    assert!(!default.in_use);
    let (service, _) = created(&store, &mut draw(), "web", 10).await;
    assert!(store.scaling_default_get(REGION).await.unwrap().unwrap().in_use, "{:?}", service.config.scaling);
    let by_scaling = store.service_list_for_scaling(REGION, &ResourceId::new(BUILT_IN_ID), None, 9).await;
    assert_eq!(by_scaling.unwrap().len(), 1);

    // A secret that is handed over in parts stays whole.
    let token = ConnectionSecret { access_token: Some("t".to_owned()), ..ConnectionSecret::default() };
    put(&store, connection("c1", "github", None), Some(token)).await.unwrap();
    let ssh = ConnectionSecret { ssh_key: Some("k".to_owned()), ..ConnectionSecret::default() };
    put(&store, connection("c1", "github", None), Some(ssh)).await.unwrap();
    let secret = store.connection_secret_get(&ResourceId::new("c1")).await.unwrap();
    assert_eq!((secret.access_token.as_deref(), secret.ssh_key.as_deref()), (Some("t"), Some("k")));
    put(&store, connection("c2", "bitbucket", None), None).await.unwrap();
    let twice = put(&store, connection("c3", "github", None), None).await;
    assert!(matches!(twice, Err(StoreError::Conflict(Conflict::Exists))), "{twice:?}");

    let list = async |filter: ResourceFilter, after: Option<ResourceCursor>| -> Vec<String> {
        let page = store.resource_list(Kind::Connection, REGION, &filter, after.as_ref(), 9).await.unwrap();
        page.into_iter().map(|known| known.resource.name).collect()
    };
    assert_eq!(list(ResourceFilter::default(), None).await, ["bitbucket", "github"]);
    let after = ResourceCursor { name: "bitbucket".to_owned(), revision: 1 };
    assert_eq!(
        list(ResourceFilter { latest_only: true, ..ResourceFilter::default() }, Some(after)).await,
        ["github"]
    );
    let scaling =
        built_in(REGION).into_iter().find(|one| one.kind() == Kind::AutoScalingConfiguration).unwrap();
    let revision = |revision: u32| Resource {
        id: ResourceId::new(format!("s{revision}")),
        name: "many".to_owned(),
        revision,
        ..scaling.clone()
    };
    put(&store, revision(1), None).await.unwrap();
    let shown = async |after: Option<&ResourceCursor>| -> Vec<(String, u32)> {
        let latest = ResourceFilter { latest_only: true, ..ResourceFilter::default() };
        let page = store.resource_list(scaling.kind(), REGION, &latest, after, 9).await.unwrap();
        page.into_iter().map(|known| (known.resource.name, known.resource.revision)).collect()
    };
    assert_eq!(shown(None).await.last(), Some(&("many".to_owned(), 1)));
    // One that comes between two pages does not show its name again.
    put(&store, revision(2), None).await.unwrap();
    assert_eq!(shown(Some(&ResourceCursor { name: "many".to_owned(), revision: 1 })).await, []);
    assert_eq!(shown(None).await.last(), Some(&("many".to_owned(), 2)));

    let named = ResourceFilter { name: Some("bitbucket".to_owned()), ..ResourceFilter::default() };
    assert_eq!(list(named, None).await, ["bitbucket"]);
    assert!(
        list(ResourceFilter { service: Some(service.id), ..ResourceFilter::default() }, None)
            .await
            .is_empty()
    );

    put(&store, connection("c1", "github", Some(WallTime(6))), None).await.unwrap();
    let secret = store.connection_secret_get(&ResourceId::new("c1")).await.unwrap();
    assert_eq!(secret, ConnectionSecret::default());
    assert_eq!(store.resource_get(Kind::Connection, REGION, &ResourceId::new("c1")).await.unwrap(), None);
    assert_eq!(store.resource_siblings(Kind::Connection, REGION, "github").await.unwrap().known.len(), 1);
}

pub(super) async fn domains_go_with_their_service(database: Database) {
    let store = database.open().await;
    let (mut draw, mut services) = (draw(), Vec::new());
    for name in ["web", "shop"] {
        services.push(created(&store, &mut draw, name, 10).await.0.id);
    }
    let add = async |at: usize, domain: &str, www: bool| -> Result<bool, StoreError> {
        let domain = CustomDomain {
            service: services[at].clone(),
            domain: domain.to_owned(),
            www,
            token: "t".to_owned(),
            created_at: WallTime(1),
        };
        let made = store.custom_domain_add(&services[at], |service, _| match service.deleted_at {
            None => Ok(domain),
            Some(_) => Err("deleted"),
        });
        Ok(made.await?.unwrap().is_ok())
    };
    let remove = async |at: usize, domain: &str| {
        let removed = store.custom_domain_remove(&services[at], domain, |_, held| held.ok_or("not held"));
        removed.await.unwrap().unwrap()
    };
    add(0, "example.com", true).await.unwrap();
    add(0, "a.example", false).await.unwrap();
    let taken = add(1, "www.example.com", false).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Conflict::HostTaken { www: false }))), "{taken:?}");
    let again = add(0, "example.com", true).await;
    assert!(matches!(again, Err(StoreError::Conflict(Conflict::HostTaken { www: false }))), "{again:?}");
    let page = store.custom_domain_list(&services[0], Some("a.example"), 9).await.unwrap();
    assert_eq!(
        page.iter().map(|one| (one.domain.as_str(), one.www)).collect::<Vec<_>>(),
        [("example.com", true)]
    );
    let refused =
        store.custom_domain_remove(&services[0], "a.example", |_, held| held.ok_or(()).and(Err(())));
    assert_eq!(refused.await.unwrap(), Some(Err(())));
    assert_eq!(remove(0, "a.example").await.unwrap().domain, "a.example");
    assert_eq!(remove(0, "a.example").await, Err("not held"));
    add(0, "www.a.example", false).await.unwrap();
    let taken = add(1, "a.example", true).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Conflict::HostTaken { www: true }))), "{taken:?}");
    // What was refused left nothing.
    add(1, "a.example", false).await.unwrap();
    let nobody = ServiceId::new("0");
    assert_eq!(store.custom_domain_add(&nobody, |_, _| Err(())).await.unwrap(), None);
    assert_eq!(store.custom_domain_remove(&nobody, "a.example", |_, _| Err(())).await.unwrap(), None);
    store
        .service_act(&services[0], |service| {
            service.state = State::Deleted;
            service.deleted_at = Some(WallTime(20));
            service.purge_at = Some(Timestamp(30));
            Ok::<_, ()>(())
        })
        .await
        .unwrap();
    // Nothing is taken by one that is deleted.
    assert!(!add(0, "www.example.com", false).await.unwrap());
    add(1, "www.example.com", false).await.unwrap();
    assert!(store.content_list().await.unwrap().is_empty());
    assert_eq!(store.purge(Timestamp(29), &[]).await.unwrap(), Purged::default());
    assert_eq!(store.purge(Timestamp(30), &[]).await.unwrap().services, services[..1]);
    assert_eq!(store.service_get(&services[0]).await.unwrap(), None);
}
