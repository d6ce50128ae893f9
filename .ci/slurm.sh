#!/usr/bin/env bash
# A SLURM of one node on this host, for the tests of --launcher=slurm and launch/slurm.sbatch,
# chromium, for those of the report, and shellcheck, for those of launch/. A job in the partition
# `urgent` preempts those in `normal`, which SLURM requeues, and those in `grace`, 20 s after it has
# told them. Needs root and apt-get; a SLURM that is there stays as it is. Given again, it starts
# what does not run.
set -euo pipefail
conf=/etc/slurm/slurm.conf mark="# a test cluster of one node, by .ci/slurm.sh"
host=$(uname -n) host=${host%%.*}

fail() {
  echo "no SLURM for the tests: $*" >&2
  exit 1
}

up() { timeout 10 sinfo --noheader --format=%t 2>/dev/null | grep -qE '^(idle|mix|alloc|comp)$'; }

missing=()
command -v chromium google-chrome >/dev/null || missing+=(chromium)
command -v shellcheck >/dev/null || missing+=(shellcheck)
up || command -v slurmctld >/dev/null || missing+=(slurm-wlm munge)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "${missing[*]} are missing and need root and apt-get" >&2
    missing=()
  fi
fi
if [ ${#missing[@]} -gt 0 ]; then
  # One by one, so that the one does not go without the other.
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update >/dev/null || fail "apt-get update does not work"
  for package in "${missing[@]}"; do
    "${apt[@]}" install --yes --no-install-recommends "$package" >/dev/null ||
      echo "apt-get could not install $package" >&2
  done
fi

if up; then exit 0; fi
command -v slurmctld >/dev/null || fail "slurm-wlm is not installed"
if [ -e $conf ] && ! grep -qxF "$mark" $conf; then fail "$conf is another cluster's"; fi
[ "$(id -u)" = 0 ] || fail "starting its daemons needs root"

# cred_expire is what a requeued job waits before it starts again: 120 s where nothing is said.
mkdir -p /etc/slurm /var/spool/slurm/{ctld,d}
cat >$conf <<END
$mark
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MessageTimeout=60
SchedulerParameters=sched_interval=5,bf_interval=5
ReturnToService=2
StateSaveLocation=/var/spool/slurm/ctld
SlurmdSpoolDir=/var/spool/slurm/d
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc)
PartitionName=normal Nodes=ALL PriorityTier=1 Default=YES
PartitionName=grace Nodes=ALL PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL PriorityTier=2
END

if ! munge --no-input >/dev/null 2>&1; then
  install -d -o munge -g munge /run/munge
  su -s /bin/sh munge -c /usr/sbin/munged || fail "munged does not start"
fi
for daemon in slurmctld slurmd; do
  pidof $daemon >/dev/null || $daemon || fail "$daemon does not start; see /var/log/$daemon.log"
done
for _ in {1..120}; do
  if up; then exit 0; fi
  sleep 1
done
fail "no node answers; see /var/log/slurmctld.log and /var/log/slurmd.log"
