use super::*;

/// A file system with these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
const V1: &str = "30 23 0:27 / /proc rw - proc proc rw\n\
    32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
    33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw master:1 - cgroup cgroup rw,cpu,cpuacct\n";

fn quota_in(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<f64> {
    let of_proc = [("proc/self/cgroup", groups), ("proc/self/mountinfo", mounts)];
    quota(tree(&[&of_proc, files].concat()).path())
}

#[test]
fn quota_of_version_2_is_the_smallest_on_the_way_up() {
    let groups = "0::/a.slice/b.service\n";
    for (top, middle, own, expected) in [
        ("", "max 100000\n", "max 100000\n", None),
        ("", "max 100000\n", "150000 100000\n", Some(1.5)),
        ("", "50000 100000\n", "max 100000\n", Some(0.5)),
        ("", "200000 100000\n", "300000 100000\n", Some(2.0)),
        ("400000 100000\n", "", "800000 100000\n", Some(4.0)),
        ("", "", "", None),
        ("", "", "many 100000\n", None),
        ("", "", "100000\n", None),
        ("", "", "100000 0\n", None),
        ("", "", "0 100000\n", None),
    ] {
        let files = [
            ("sys/fs/cgroup/cpu.max", top),
            ("sys/fs/cgroup/a.slice/cpu.max", middle),
            ("sys/fs/cgroup/a.slice/b.service/cpu.max", own),
            ("sys/fs/cgroup/other/cpu.max", "10000 100000\n"),
        ];
        assert_eq!(quota_in(groups, V2, &files), expected, "{top:?} {middle:?} {own:?}");
    }
}

#[test]
fn quota_of_version_1_is_that_of_the_cpu_controller() {
    let groups = "5:memory:/other\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n";
    let own = |name: &str| format!("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_{name}_us");
    let [quota, period] = [own("quota"), own("period")];
    for (time, expected) in [("-1\n", None), ("250000\n", Some(2.5)), ("0\n", None), ("x", None)] {
        let files = [(quota.as_str(), time), (period.as_str(), "100000\n")];
        assert_eq!(quota_in(groups, V1, &files), expected, "{time}");
    }
    assert_eq!(quota_in(groups, V1, &[(quota.as_str(), "100000\n")]), None, "no period");
}

#[test]
fn quota_of_a_container_is_found_at_the_mount_of_its_group() {
    let own = ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
    let period = ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    let mounted = V1.replace("0:30 / ", "0:30 /docker/1 ");
    for group in ["/docker/1", "/", "/../other", "/docker/1/../2"] {
        let groups = format!("4:cpu,cpuacct:{group}\n");
        assert_eq!(quota_in(&groups, &mounted, &[own, period]), Some(3.0), "{group}");
    }
}

#[test]
fn smaller_quota_of_both_versions_counts() {
    let mounts = format!("{V1}{}", V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/a\\040b "));
    let groups = "4:cpu:/\n0::/x\n";
    let files = [
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/a b/x/cpu.max", "120000 100000\n"),
    ];
    assert_eq!(quota_in(groups, &mounts, &files), Some(1.2));
}

#[test]
fn system_without_control_groups_has_no_quota() {
    assert_eq!(quota(tree(&[]).path()), None);
    assert_eq!(quota_in("", "", &[]), None);
    assert_eq!(
        quota_in("garbage\n0::\n\0:cpu", "a b c\n- cgroup2\n1 2 3 / / - cgroup2", &[]),
        None
    );
}

#[test]
fn usable_cpus_are_limited_by_affinity_and_quota() {
    for (allowed, quota, usable, text) in [
        (8, None, 8, "8 CPUs allowed"),
        (8, Some(1.5), 2, "8 CPUs allowed, quota 1.50"),
        (8, Some(2.0), 2, "8 CPUs allowed, quota 2.00"),
        (8, Some(0.1), 1, "8 CPUs allowed, quota 0.10"),
        (1, Some(4.0), 1, "1 CPU allowed, quota 4.00"),
        (2, Some(1e30), 2, "2 CPUs allowed, quota 1000000000000000019884624838656.00"),
    ] {
        let cpus = Cpus { allowed, quota };
        assert_eq!((cpus.usable(), cpus.to_string().as_str()), (usable, text));
    }
    assert!(Cpus::of_this_process().usable() >= 1);
}
