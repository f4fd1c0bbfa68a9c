//! Seeds are kept, replaced, proven and moved, and none is ever lost.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use super::*;

const ABOUT: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(Some(dir.path().into())).unwrap();
    (dir, home)
}

fn with<'a>(home: &'a Home, passphrase: &str) -> Seeds<'a> {
    Seeds::new(home).with_passphrase(Zeroizing::new(passphrase.into()))
}

fn old_files(home: &Home, network: Network) -> Vec<PathBuf> {
    let folder = Seeds::new(home).folder(network).join("old");
    std::fs::read_dir(folder)
        .map_or_else(|_| Vec::new(), |all| all.map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn a_wallet_gets_the_seed_of_its_network_and_of_no_other() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    assert!(matches!(wallet_seed(&home, Network::Mainnet), Err(SeedError::Missing(Network::Mainnet))));
    let kept =
        seeds.restore(Network::Mainnet, Mnemonic::parse(ABOUT).unwrap(), None, Replace::Never).unwrap();
    assert_eq!((kept.status.fingerprint.as_str(), kept.set_aside), ("73c5da0a", None));
    assert_eq!(kept.status.verified.unwrap().by, Proof::Words);
    assert_eq!(hex::encode(&wallet_seed(&home, Network::Mainnet).unwrap().expose()[..4]), "5eb00bbd");
    assert!(matches!(wallet_seed(&home, Network::Regtest), Err(SeedError::Missing(Network::Regtest))));
    seeds.create(Network::Regtest, WordCount::TwentyFour, None, Replace::Never).unwrap();
    assert_ne!(wallet_seed(&home, Network::Regtest).unwrap(), wallet_seed(&home, Network::Mainnet).unwrap());
    let networks: Vec<_> = seeds.all().unwrap().iter().map(|seed| (seed.network, seed.words)).collect();
    assert_eq!(networks, [(Network::Mainnet, 12), (Network::Regtest, 24)]);
}

#[test]
fn a_seed_is_not_replaced_unless_that_was_said_and_then_it_is_set_aside() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    let first = seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap().status;
    assert_eq!(first.verified, None);
    let before = std::fs::read(seeds.path(Network::Mainnet)).unwrap();
    let again = seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never);
    assert!(matches!(again, Err(SeedError::Present { fingerprint, .. }) if fingerprint == first.fingerprint));
    let other = seeds.restore(Network::Mainnet, Mnemonic::parse(ABOUT).unwrap(), None, Replace::Never);
    assert!(matches!(other, Err(SeedError::Present { .. })));
    assert_eq!(std::fs::read(seeds.path(Network::Mainnet)).unwrap(), before);

    let kept = seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::SetAside).unwrap();
    assert_ne!(kept.status.fingerprint, first.fingerprint);
    assert_eq!(std::fs::read(kept.set_aside.unwrap()).unwrap(), before, "the old one is whole");
}

#[test]
fn the_same_seed_once_more_is_no_other_and_shows_that_its_owner_has_it() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    let made = seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap().status;
    let content = seeds.unlock(Network::Mainnet).unwrap();
    let kept = seeds.restore(Network::Mainnet, content.mnemonic, None, Replace::Never).unwrap();
    assert_eq!((kept.status.fingerprint, kept.set_aside), (made.fingerprint, None));
    assert_eq!(kept.status.verified.unwrap().by, Proof::Words);
    assert_eq!(kept.status.created_at, made.created_at);
}

#[test]
fn nothing_is_restored_or_replaced_under_a_running_node() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    let _node = home.lock().unwrap();
    let is_in_use = |outcome: Result<Kept, SeedError>| {
        matches!(outcome, Err(SeedError::Identity(IdentityError::Home(HomeError::InUse { .. }))))
    };
    assert!(is_in_use(seeds.restore(
        Network::Mainnet,
        Mnemonic::parse(ABOUT).unwrap(),
        None,
        Replace::SetAside
    )));
    seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap();
    assert!(is_in_use(seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::SetAside)));
    assert!(old_files(&home, Network::Mainnet).is_empty());
}

#[test]
fn a_backup_goes_to_another_home_and_no_other_password_opens_it() {
    let ((_dir, home), (_other_dir, other)) = (self::home(), self::home());
    let seeds = Seeds::new(&home);
    let made = seeds.create(Network::Signet, WordCount::TwentyFour, None, Replace::Never).unwrap().status;
    let content = seeds.unlock(Network::Signet).unwrap();
    let text = backup_text(&content, "correct horse").unwrap();
    assert!(!text.contains(content.mnemonic.phrase().as_str()));

    let there = Seeds::new(&other);
    let wrong = there.restore_backup(Network::Signet, &text, "battery staple", Replace::Never);
    assert!(matches!(wrong, Err(SeedError::Backup(OpenError::Locked))));
    let elsewhere = there.restore_backup(Network::Mainnet, &text, "correct horse", Replace::Never);
    assert!(matches!(elsewhere, Err(SeedError::OtherNetwork(Network::Signet))));
    assert_eq!(there.all().unwrap(), []);
    let kept = there.restore_backup(Network::Signet, &text, "correct horse", Replace::Never).unwrap().status;
    assert_eq!((kept.fingerprint.as_str(), kept.created_at), (made.fingerprint.as_str(), made.created_at));
    assert_eq!(there.unlock(Network::Signet).unwrap(), content);

    assert_eq!(seeds.status(Network::Signet).unwrap().unwrap().verified, None, "a file alone proves nothing");
    let proven = seeds.verify_backup(Network::Signet, &text, "correct horse").unwrap();
    assert_eq!(proven.verified.unwrap().by, Proof::Backup);
    seeds.create(Network::Signet, WordCount::Twelve, None, Replace::SetAside).unwrap();
    let stale = seeds.verify_backup(Network::Signet, &text, "correct horse");
    assert!(matches!(stale, Err(SeedError::OtherSeed { .. })));
}

#[test]
fn a_seed_moves_with_the_identities_and_so_do_those_set_aside() {
    let (_dir, home) = home();
    let (seeds, keyed) = (Seeds::new(&home), with(&home, "correct horse"));
    seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap();
    seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::SetAside).unwrap();
    let content = seeds.unlock(Network::Mainnet).unwrap();
    let seed = seeds.note(&content, Proof::Quiz).unwrap();
    assert_eq!(seed.storage, Storage::DeviceKey);

    let identities = || Identities::new(&home);
    let keyed_identities = || identities().with_passphrase(Zeroizing::new("correct horse".into()));
    keyed_identities().protect(Storage::Passphrase).unwrap();
    assert!(!home.data_file("device.key").exists());
    assert!(matches!(
        wallet_seed(&home, Network::Mainnet),
        Err(SeedError::Identity(IdentityError::NoPassphrase))
    ));
    assert!(matches!(
        with(&home, "battery staple").unlock(Network::Mainnet),
        Err(SeedError::Locked(Network::Mainnet))
    ));
    assert_eq!(keyed.unlock(Network::Mainnet).unwrap(), content);
    assert_eq!(keyed.unlock_all().unwrap().len(), 2);
    let moved = keyed.status(Network::Mainnet).unwrap().unwrap();
    assert_eq!((moved.storage, moved.verified), (Storage::Passphrase, seed.verified));

    keyed_identities().protect(Storage::DeviceKey).unwrap();
    assert_eq!(seeds.unlock(Network::Mainnet).unwrap(), content);
    assert_eq!(seeds.unlock_all().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_unlocked_keeps_everything_where_it_is() {
    let (_dir, home) = home();
    with(&home, "correct horse").create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap();
    let path = Seeds::new(&home).path(Network::Mainnet);
    let before = std::fs::read(&path).unwrap();
    for storage in [Storage::Passphrase, Storage::DeviceKey] {
        let other = Identities::new(&home).with_passphrase(Zeroizing::new("battery staple".into()));
        assert!(matches!(other.protect(storage), Err(IdentityError::Seed(_))));
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_seed_whose_device_secret_is_gone_is_restored_from_its_words() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    seeds.restore(Network::Mainnet, Mnemonic::parse(ABOUT).unwrap(), None, Replace::Never).unwrap();
    std::fs::remove_file(home.data_file("device.key")).unwrap();
    assert!(matches!(wallet_seed(&home, Network::Mainnet), Err(SeedError::Locked(_))));
    assert!(!home.data_file("device.key").exists(), "a new secret would hide that the old one is lost");
    let words = Mnemonic::parse(ABOUT).unwrap();
    assert!(matches!(
        seeds.restore(Network::Mainnet, words.clone(), None, Replace::Never),
        Err(SeedError::Present { .. })
    ));
    seeds.restore(Network::Mainnet, words, None, Replace::SetAside).unwrap();
    assert_eq!(wallet_seed(&home, Network::Mainnet).unwrap().fingerprint().to_string(), "73c5da0a");
    assert_eq!(old_files(&home, Network::Mainnet).len(), 1);
}

#[test]
fn a_damaged_file_and_one_of_a_later_version_are_not_written_over() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap();
    let path = seeds.path(Network::Mainnet);
    let whole = std::fs::read_to_string(&path).unwrap();
    for text in ["", "{", &whole[..whole.len() / 2], &whole.replace("\"version\": 1", "\"version\": 3")] {
        std::fs::write(&path, text).unwrap();
        let outcome = seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never);
        assert!(matches!(outcome, Err(SeedError::Read { .. } | SeedError::Newer(_))), "{outcome:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    let kept = seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::SetAside).unwrap();
    assert!(std::fs::read_to_string(kept.set_aside.unwrap()).unwrap().contains("\"version\": 3"));
}

#[test]
fn a_file_that_was_changed_does_not_open() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    seeds.restore(Network::Mainnet, Mnemonic::parse(ABOUT).unwrap(), None, Replace::Never).unwrap();
    let path = seeds.path(Network::Mainnet);
    let whole = std::fs::read_to_string(&path).unwrap();
    for (from, to) in
        [("73c5da0a", "73c5da0b"), ("\"mainnet\"", "\"testnet\""), ("backup-1:00", "backup-1:01")]
    {
        let changed = whole.replace(from, to);
        assert_ne!(changed, whole, "{from}");
        std::fs::write(&path, changed).unwrap();
        assert!(matches!(wallet_seed(&home, Network::Mainnet), Err(SeedError::Locked(_))), "{from}");
    }
}

#[test]
fn of_many_who_make_a_seed_at_once_one_wins_and_the_others_are_told() {
    let (_dir, home) = home();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let make = || Seeds::new(&home).create(Network::Mainnet, WordCount::Twelve, None, Replace::Never);
        let all: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let made: Vec<_> = outcomes.iter().flatten().map(|kept| kept.status.fingerprint.clone()).collect();
    assert_eq!(made, [wallet_seed(&home, Network::Mainnet).unwrap().fingerprint().to_string()]);
    let told = outcomes.iter().filter(
        |outcome| matches!(outcome, Err(SeedError::Present { fingerprint, .. }) if *fingerprint == made[0]),
    );
    assert_eq!(told.count(), 7);
}

#[cfg(unix)]
#[test]
fn seed_files_are_for_their_owner_alone_and_hold_no_word() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    seeds.create(Network::Mainnet, WordCount::Twelve, None, Replace::Never).unwrap();
    let old = seeds
        .create(Network::Mainnet, WordCount::Twelve, None, Replace::SetAside)
        .unwrap()
        .set_aside
        .unwrap();
    let content = seeds.unlock(Network::Mainnet).unwrap();
    for path in [seeds.path(Network::Mainnet), old] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&hex::encode(content.mnemonic.entropy().as_slice())));
        assert!(!text.contains(content.mnemonic.phrase().as_str()));
        assert!(!text.contains(&hex::encode(content.seed().expose())));
    }
}

#[test]
fn a_passphrase_is_kept_with_the_words_and_makes_another_seed() {
    let (_dir, home) = home();
    let seeds = Seeds::new(&home);
    let passphrase = || Passphrase::new("TREZOR").ok();
    let words = || Mnemonic::parse(ABOUT).unwrap();
    let alone = seeds.restore(Network::Mainnet, words(), None, Replace::Never).unwrap().status;
    let text = std::fs::read_to_string(seeds.path(Network::Mainnet)).unwrap();
    assert!(!alone.passphrase && text.contains("\"version\": 1"), "earlier programs open it: {text}");
    let other = seeds.restore(Network::Mainnet, words(), passphrase(), Replace::Never);
    assert!(
        matches!(other, Err(SeedError::Present { .. })),
        "the same words with a passphrase are another seed"
    );

    let status = seeds.restore(Network::Mainnet, words(), passphrase(), Replace::SetAside).unwrap().status;
    assert!(status.passphrase && status.fingerprint != alone.fingerprint);
    let text = std::fs::read_to_string(seeds.path(Network::Mainnet)).unwrap();
    assert!(text.contains("\"version\": 2") && !text.contains("TREZOR"), "{text}");
    // The seed of BIP39's own vector.
    let seed = hex::encode(wallet_seed(&home, Network::Mainnet).unwrap().expose());
    assert!(seed.starts_with("c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e5349553"), "{seed}");
    assert_eq!(seeds.unlock(Network::Mainnet).unwrap().passphrase, passphrase());

    let content = seeds.unlock(Network::Mainnet).unwrap();
    let backup = backup_text(&content, "a password").unwrap();
    assert!(backup.starts_with(
        "# An encrypted backup of a bitcoin wallet's seed (BIP39, mainnet, words and passphrase)"
    ));
    assert!(!backup.contains("TREZOR"));
    let made = seeds.create(Network::Mainnet, WordCount::Twelve, passphrase(), Replace::SetAside).unwrap();
    assert!(made.status.passphrase && seeds.verify_backup(Network::Mainnet, &backup, "a password").is_err());
    let back = seeds.restore_backup(Network::Mainnet, &backup, "a password", Replace::SetAside).unwrap();
    assert_eq!(back.status.fingerprint, status.fingerprint);
    assert!(seeds.verify_backup(Network::Mainnet, &backup, "a password").unwrap().verified.is_some());
}
