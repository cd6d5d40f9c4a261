#!/usr/bin/env bash
# A real SLURM of one node with two pretend GPUs, of four shards each, on this machine, for the tests. As root, with
# slurm-wlm and munge:
#
#   tests/slurm/cluster.sh start    start munged, slurmctld and slurmd
#   tests/slurm/cluster.sh start-limited    the same with accounting (slurmdbd on a MariaDB of its own), where the user may
#                                   have LIMIT jobs in the queue and partition gpu ends a job after a minute
#   tests/slurm/cluster.sh status   say whether they run, and what the node does; exit 1 when they do not
#   tests/slurm/cluster.sh stop     cancel all jobs and stop what start has started
#   tests/slurm/cluster.sh controller-kill | controller-start    the two halves of a restarted slurmctld
#
# The executor plugin drops SLURM_CONF inside jobs, so the configuration lies in /etc/slurm. One that is not ours is
# never touched: on a machine with a SLURM of its own this script refuses to start.
set -euo pipefail

STATE=/run/lossatlas-slurm
CONF=/etc/slurm/slurm.conf
GRES=/etc/slurm/gres.conf
DBD=/etc/slurm/slurmdbd.conf
LIMIT=3
SQL_PORT=13306
MARK="# lossatlas test cluster"

fail() {
  echo "cluster.sh: $*" >&2
  exit 1
}

running() { # running NAME: whether the daemon that start has started lives
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}

configure() {
  if [ -e "$CONF" ] && ! grep -qF "$MARK" "$CONF"; then
    fail "$CONF is not of this script; this machine has a SLURM of its own, which the tests leave alone"
  fi
  local host accounting gpu_time
  host=$(hostname -s)
  accounting="AccountingStorageType=accounting_storage/none"
  gpu_time=INFINITE
  if [ "$LIMITED" = yes ]; then
    gpu_time=1
    accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStorageEnforce=associations,limits
AccountingStorageTRES=gres/gpu,gres/shard
AccountingStoreFlags=job_comment
EnforcePartLimits=ALL"
  fi
  mkdir -p "$STATE/ctld" "$STATE/slurmd"
  touch "$STATE/gpu0" "$STATE/gpu1"
  cat > "$CONF" <<END
$MARK
ClusterName=lossatlas
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$STATE/ctld
SlurmdSpoolDir=$STATE/slurmd
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
$accounting
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu,shard
ReturnToService=1
MinJobAge=300
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=512000 Gres=gpu:test:2,shard:8 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=$gpu_time State=UP
END
  cat > "$GRES" <<END
NodeName=$host Name=gpu Type=test File=$STATE/gpu[0-1]
NodeName=$host Name=shard Count=8
END
}

await() { # await WHAT COMMAND...: wait half a minute for a command to succeed
  local what=$1
  shift
  for _ in $(seq 150); do
    if "$@" > /dev/null 2>&1; then return; fi
    sleep 0.2
  done
  fail "$what; see $STATE/*.log"
}

start_munge() {
  if munge -n 2> /dev/null | unmunge > /dev/null 2>&1; then return; fi # one runs already: leave it alone
  mkdir -p /run/munge /var/log/munge
  chown munge: /run/munge /var/log/munge
  chmod 755 /run/munge
  runuser -u munge -- munged --pid-file=/run/munge/munged.pid
  await "munged does not answer" sh -c 'munge -n | unmunge'
  cp /run/munge/munged.pid "$STATE/munged.pid"
}

start_accounting() { # MariaDB on a port of its own, slurmdbd, and an association that limits the user
  local user
  user=$(id -un)
  if [ -e "$DBD" ] && ! grep -qF "$MARK" "$DBD"; then
    fail "$DBD is not of this script; this machine has a SLURM of its own, which the tests leave alone"
  fi
  if ! running mariadbd; then
    mariadb-install-db --no-defaults --datadir="$STATE/mysql" --user="$user" --skip-test-db \
      --auth-root-authentication-method=normal > "$STATE/mysql-install.log" 2>&1 || fail "no database; see $STATE/mysql-install.log"
    cat > "$STATE/init.sql" <<END
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
END
    setsid mariadbd --no-defaults --datadir="$STATE/mysql" --user="$user" --socket="$STATE/mysql.sock" \
      --bind-address=127.0.0.1 --port="$SQL_PORT" --skip-name-resolve --pid-file="$STATE/mariadbd.pid" \
      --init-file="$STATE/init.sql" --innodb-flush-log-at-trx-commit=0 > "$STATE/mariadbd.log" 2>&1 < /dev/null &
    await "mariadbd does not answer" bash -c "exec 3<> /dev/tcp/127.0.0.1/$SQL_PORT"
  fi
  (
    umask 077
    cat > "$DBD" <<END
$MARK
AuthType=auth/munge
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
SlurmUser=root
PidFile=$STATE/slurmdbd.pid
LogFile=$STATE/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$SQL_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
END
  )
  running slurmdbd || slurmdbd
  await "slurmdbd does not answer" sacctmgr --noheader show cluster
  {
    sacctmgr --immediate --quiet add cluster lossatlas
    sacctmgr --immediate --quiet add account tests
    sacctmgr --immediate --quiet add user "$user" account=tests
    sacctmgr --immediate --quiet modify user "$user" set maxsubmitjobs="$LIMIT"
  } > "$STATE/sacctmgr.log" 2>&1 || true # what is there already is no fault
  [ "$(sacctmgr --noheader --parsable2 show assoc user="$user" format=maxsubmit | sort -u)" = "$LIMIT" ] \
    || fail "the limit of $LIMIT jobs was not set; see $STATE/sacctmgr.log and $STATE/slurmdbd.log"
}

node_is_up() {
  case $(sinfo --noheader --nodes "$(hostname -s)" --format %T | head -n 1) in
    idle | mixed | allocated) ;;
    *) return 1 ;;
  esac
}

start() {
  [ "$(id -u)" = 0 ] || fail "starting SLURM's daemons needs root"
  for tool in slurmctld slurmd munged; do
    PATH=$PATH:/usr/sbin command -v "$tool" > /dev/null || fail "$tool is missing; apt-get install slurm-wlm munge"
  done
  if [ "$LIMITED" = yes ]; then
    for tool in slurmdbd mariadbd mariadb-install-db; do
      PATH=$PATH:/usr/sbin command -v "$tool" > /dev/null || fail "$tool is missing; apt-get install slurmdbd mariadb-{server,client}-core"
    done
  fi
  configure
  start_munge
  [ "$LIMITED" = no ] || start_accounting
  running slurmctld || slurmctld -i
  await "slurmctld does not answer" scontrol ping
  running slurmd || slurmd
  await "the node does not come up" node_is_up
}

stop_daemon() { # stop_daemon NAME SIGNAL: and wait until it is gone
  local pid
  running "$1" || return 0
  pid=$(cat "$STATE/$1.pid")
  kill "-$2" "$pid"
  for _ in $(seq 100); do
    [ -d "/proc/$pid" ] || break
    sleep 0.1
  done
  if [ -d "/proc/$pid" ]; then kill -KILL "$pid"; fi
}

stop() {
  if running slurmctld; then
    scancel --user "$(id -un)" || true
    for _ in $(seq 50); do
      [ -n "$(squeue --noheader 2> /dev/null)" ] || break
      sleep 0.2
    done
  fi
  for daemon in slurmd slurmctld slurmdbd mariadbd munged; do stop_daemon "$daemon" TERM; done
  if grep -qF "$MARK" "$DBD" 2> /dev/null; then rm -f "$DBD"; fi
  if grep -qF "$MARK" "$CONF" 2> /dev/null; then rm -f "$CONF" "$GRES"; fi
  rm -rf "$STATE"
}

status() {
  local all=0 daemon
  for daemon in munged slurmctld slurmd; do
    if running "$daemon"; then
      echo "$daemon runs"
    elif [ "$daemon" = munged ] && munge -n 2> /dev/null | unmunge > /dev/null 2>&1; then
      echo "munged runs (not started here)"
    else
      echo "$daemon does not run"
      all=1
    fi
  done
  if [ "$all" = 0 ]; then sinfo --Node --long; fi
  return "$all"
}

export PATH=$PATH:/usr/sbin
LIMITED=no
case ${1:-} in
  start-limited)
    LIMITED=yes
    start
    ;;
  start | stop | status) "$1" ;;
  controller-kill) stop_daemon slurmctld KILL ;;
  controller-start)
    slurmctld
    await "slurmctld does not answer" scontrol ping
    ;;
  *) fail "usage: cluster.sh start | start-limited | stop | status | controller-kill | controller-start" ;;
esac
