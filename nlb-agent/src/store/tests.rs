use std::fs;

use tempfile::TempDir;

use super::{memory::Table, *};
use crate::model::{
    BackendKey, ServerGroup,
    fixture::{NOW, draft, name, shop, shop_drafts},
};

const IDS: Table<String, u32> = Table::new("memory.ids");
const DRAINS: Table<BackendKey, serde_json::Value> = Table::new("memory.drains");

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn fill(store: &Store) -> u64 {
    let filled = store.commit(|state, _| -> Result<(), Rule> {
        shop_drafts().into_iter().try_for_each(|draft| state.upsert_any(draft, NOW).map(drop))
    });
    filled.expect("legal").1
}

/// What a kill -9 leaves behind: the file as it is at this moment, without any goodbye.
fn killed(dir: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    fs::copy(dir.path().join(FILE_NAME), copy.path().join(FILE_NAME)).expect("copied");
    copy
}

#[test]
fn what_was_committed_survives_a_kill() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    assert_eq!(store.snapshot().0, 0, "a new store is at revision 0");
    assert_eq!(fill(&store), 1);
    let (_, revision) =
        store.commit(|state, now| state.upsert(draft::<ServerGroup>("extra", "{}"), now)).expect("legal");
    assert_eq!(revision, 2);

    let after = killed(&dir);
    let reopened = Store::open(after.path()).expect("opens after a kill");
    assert_eq!(reopened.snapshot(), store.snapshot());
    assert_eq!(reopened.snapshot().1.server_groups.len(), 2);
    let (deleted, revision) = reopened
        .commit(|state, _| state.delete::<ServerGroup>(&name("extra"), None, crate::model::Referrers::Refuse))
        .expect("unused");
    assert_eq!((deleted.len(), revision), (1, 3));
    let again = killed(&after);
    assert_eq!(*Store::open(again.path()).expect("opens").snapshot().1, shop(), "deleted rows are gone");
}

#[test]
fn a_refused_change_leaves_file_and_snapshot_untouched() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    fill(&store);
    let before = (store.snapshot(), fs::read(dir.path().join(FILE_NAME)).expect("readable"));
    let mut watcher = store.subscribe();
    watcher.mark_unchanged();

    let refused = store.commit(|state, now| -> Result<(), Rule> {
        state.server_groups.clear();
        state.upsert(draft::<ServerGroup>("extra", "{}"), now)?;
        Err(Rule::NotFound { kind: crate::model::Kind::Listener, name: name("none") })
    });
    assert_eq!(refused.expect_err("refused").to_string(), "listener none does not exist");
    let broken = store.commit(|state, _| -> Result<(), Rule> {
        state.server_groups.clear();
        Ok(())
    });
    let message = broken.expect_err("the whole is checked").to_string();
    assert_eq!(message, "backend service web: server_groups: server group servers does not exist");

    assert_eq!((store.snapshot(), fs::read(dir.path().join(FILE_NAME)).expect("readable")), before);
    assert!(!watcher.has_changed().expect("open"));
}

#[test]
fn an_unchanged_state_makes_no_revision() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    let revision = fill(&store);
    assert_eq!(fill(&store), revision);
}

#[test]
fn subscribers_see_new_states() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    let mut watcher = store.subscribe();
    fill(&store);
    assert!(watcher.has_changed().expect("open"));
    let (revision, state) = watcher.borrow_and_update().clone();
    assert_eq!((revision, &*state), (1, &*store.snapshot().1));
}

#[test]
fn concurrent_writers_lose_nothing() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..5 {
                    let group = draft::<ServerGroup>(&format!("g-{thread}-{i}"), "{}");
                    store.commit(|state, now| state.create(group, now)).expect("new");
                }
            });
        }
    });
    let (revision, state) = store.snapshot();
    assert_eq!((revision, state.server_groups.len()), (20, 20));
}

#[test]
fn ids_are_never_the_same() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    for group in ["a", "b"] {
        store.commit(|state, now| state.create(draft::<ServerGroup>(group, "{}"), now)).expect("new");
    }
    let state = store.snapshot().1;
    assert_ne!(state.server_groups[&name("a")].meta.id, state.server_groups[&name("b")].meta.id);
}

#[test]
fn the_agents_memory_survives_a_kill() {
    let dir = dir();
    let store = Store::open(dir.path()).expect("opens");
    let key = shop().configured_backends().into_keys().next().expect("two");
    assert!(store.load(IDS).expect("empty").is_empty());
    store.save(IDS, [("a".to_owned(), 1), ("b".to_owned(), 2)], []).expect("written");
    store.save(IDS, [("c".to_owned(), 3)], ["a".to_owned()]).expect("written");
    store.save(DRAINS, [(key.clone(), serde_json::json!({"until": 5}))], []).expect("written");

    let store = Store::open(killed(&dir).path()).expect("opens");
    let ids: Vec<_> = store.load(IDS).expect("readable").into_iter().collect();
    assert_eq!(ids, [("b".to_owned(), 2), ("c".to_owned(), 3)]);
    let drains = store.load(DRAINS).expect("readable");
    assert_eq!(drains.keys().collect::<Vec<&BackendKey>>(), [&key]);
}

#[test]
fn a_second_agent_is_refused() {
    let dir = dir();
    let _first = Store::open(dir.path()).expect("opens");
    let error = Store::open(dir.path()).expect_err("locked");
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().starts_with("another agent uses /"), "{error}");
}

#[test]
fn a_missing_directory_is_named() {
    let dir = dir();
    let error = Store::open(&dir.path().join("none")).expect_err("missing");
    assert!(matches!(error, StoreError::NoDirectory { .. }), "{error:?}");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let dir = dir();
    fs::create_dir(dir.path().join(FILE_NAME)).expect("made");
    let error = Store::open(dir.path()).expect_err("a directory is no file");
    assert!(matches!(error, StoreError::NoAccess { .. }), "{error:?}");
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let garbage = vec![0x5a; 64 * 1024];
    let whole = {
        let dir = dir();
        fill(&Store::open(dir.path()).expect("opens"));
        fs::read(dir.path().join(FILE_NAME)).expect("readable")
    };
    let truncated = whole[..whole.len() / 8].to_vec();
    let mut overwritten = whole;
    overwritten[4096..].fill(0xa5);
    for (what, content) in [("garbage", garbage), ("truncated", truncated), ("overwritten", overwritten)] {
        let dir = dir();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, &content).expect("written");
        let error = Store::open(dir.path()).expect_err(what);
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("is damaged"), "{what}: {error}");
    }
}

#[test]
fn a_file_of_a_newer_agent_is_refused() {
    let dir = dir();
    drop(Store::open(dir.path()).expect("opens"));
    let database = Database::create(dir.path().join(FILE_NAME)).expect("opens");
    let write = database.begin_write().expect("begins");
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).expect("opens").insert("format", 99).expect("inserts");
    write.commit().expect("commits");
    drop(database);
    let error = Store::open(dir.path()).expect_err("newer").to_string();
    assert!(
        error.ends_with("has format 99, this agent knows up to 1: start the newer agent that wrote it"),
        "{error}"
    );
}

#[test]
fn a_row_that_makes_no_sense_is_named() {
    let dir = dir();
    drop(Store::open(dir.path()).expect("opens"));
    let database = Database::create(dir.path().join(FILE_NAME)).expect("opens");
    let write = database.begin_write().expect("begins");
    let table = redb::TableDefinition::<&str, &[u8]>::new("listeners");
    write.open_table(table).expect("opens").insert("http", b"{}".as_slice()).expect("inserts");
    write.commit().expect("commits");
    drop(database);
    let error = Store::open(dir.path()).expect_err("no listener").to_string();
    assert!(error.contains("is damaged (table listeners, key http: missing field `spec`"), "{error}");
}
