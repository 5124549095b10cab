#!/usr/bin/env bash
# local_cluster.sh - a real multi-node SLURM cluster on this one machine, for tests and CI.
#
#   local_cluster.sh install             install what it needs, with apt-get
#   local_cluster.sh start [options]     start (idempotent: a running cluster is left alone)
#   local_cluster.sh stop [--purge]      stop only what this script started (--purge: delete DIR too)
#   local_cluster.sh status              daemons, nodes, queue (rc 0 = up, 3 = down)
#   local_cluster.sh env                 print "export ..." lines; use: eval "$(local_cluster.sh env)"
#   local_cluster.sh kill-node NODE      SIGKILL one slurmd and its steps (a node failure)
#   local_cluster.sh kill-daemon NAME    SIGKILL slurmctld, slurmdbd, ...; `start` starts what is missing
#   local_cluster.sh freeze-node NODE    SIGSTOP one slurmd (a node that hangs);  thaw-node NODE
#   local_cluster.sh start-node NODE     start it again (ReturnToService=2 brings it back)
#
# Options of start (or the variables in brackets):
#   --dir DIR       state directory                    [LOCAL_CLUSTER_DIR, /tmp/local_cluster.UID]
#   --nodes N       number of nodes: node1..nodeN      [LOCAL_CLUSTER_NODES, 4]
#   --cpus N        CPUs each node claims to have      [LOCAL_CLUSTER_CPUS, 8]
#   --gpus N        fake GPUs per node                 [LOCAL_CLUSTER_GPUS, 8]
#   --mem MB        memory each node claims to have    [LOCAL_CLUSTER_MEM, 16000]
#   --no-db         no MariaDB/slurmdbd; a small `sacct` stand-in goes first on PATH
#   --preempt KIND  partition | qos                    [LOCAL_CLUSTER_PREEMPT, partition]
#   --no-ns         do not give each node its own hostname (UTS+mount namespace)
#
# Needs (Debian/Ubuntu): slurmctld slurmd slurm-client munge, and unless --no-db
# slurmdbd mariadb-server: what `install` installs. No system service or /etc file is used.
# Runs as root or as any ordinary user (then only that user can submit).
set -u -o pipefail

DIR=${LOCAL_CLUSTER_DIR:-/tmp/local_cluster.$(id -u)}
NODES=${LOCAL_CLUSTER_NODES:-4}; CPUS=${LOCAL_CLUSTER_CPUS:-8}; GPUS=${LOCAL_CLUSTER_GPUS:-8}
MEM=${LOCAL_CLUSTER_MEM:-16000}; PREEMPT=${LOCAL_CLUSTER_PREEMPT:-partition}
DB=${LOCAL_CLUSTER_DB:-1}; NS=${LOCAL_CLUSTER_NS:-1}; PORT=${LOCAL_CLUSTER_PORT:-26817}; PURGE=0
PATH=$PATH:/usr/sbin:/sbin

die() { echo "local_cluster: $*" >&2; exit 1; }
say() { [ "${QUIET:-0}" = 1 ] || echo "local_cluster: $*"; }

CMD=${1:-}; [ $# -gt 0 ] && shift
ARG=
while [ $# -gt 0 ]; do
  case $1 in
    --dir) DIR=$2; shift ;; --nodes) NODES=$2; shift ;; --cpus) CPUS=$2; shift ;;
    --gpus) GPUS=$2; shift ;; --mem) MEM=$2; shift ;; --preempt) PREEMPT=$2; shift ;;
    --port) PORT=$2; shift ;; --no-db) DB=0 ;; --no-ns) NS=0 ;; --purge) PURGE=1 ;;
    -*) die "unknown option $1" ;; *) ARG=$1 ;;
  esac; shift
done
case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac
ME=$(id -un); CONF=$DIR/slurm.conf
# The database goes to memory where it can: fsync makes a start on disk some 10 s slower.
DBDIR=$DIR/db
[ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR==2{print $4}')" -gt 300000 ] &&
  DBDIR=/dev/shm/local_cluster.$(id -u).$(printf %s "$DIR" | cksum | cut -d' ' -f1)
export SLURM_CONF=$CONF

# ---- processes: pid + kernel start time, so that a reused pid is never signalled ----------
pstat() { # state and start time of pid $1
  local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  s=${s##*) }; set -- $s; echo "$1 ${20}"
}
alive() { # is the daemon recorded under name $1 alive (a zombie is not)?
  local pid t st now; [ -s "$DIR/run/$1.id" ] || return 1
  read -r pid t <"$DIR/run/$1.id"; read -r st now < <(pstat "$pid") || return 1
  [ "$now" = "$t" ] && [ "$st" != Z ] && [ "$st" != X ]
}
pid_of() { local p _; read -r p _ <"$DIR/run/$1.id" && echo "$p"; }
spawn() { # spawn NAME cmd...: a daemon kept in the foreground, in its own session
  local name=$1; shift
  setsid "$@" >>"$DIR/log/$name.out" 2>&1 </dev/null &
  local pid=$! t; t=$(pstat $pid) || { cat "$DIR/log/$name.out" >&2; die "$name did not start"; }
  echo "$pid ${t#* }" >"$DIR/run/$name.id"
}
end() { # end NAME: TERM, wait up to 5 s, KILL
  alive "$1" || { rm -f "$DIR/run/$1.id"; return 0; }
  local p i; p=$(pid_of "$1"); kill -CONT "$p" 2>/dev/null; kill "$p" 2>/dev/null
  for i in $(seq 50); do alive "$1" || break; sleep 0.1; done
  alive "$1" && kill -9 "$p" 2>/dev/null
  rm -f "$DIR/run/$1.id"
}
stepds() { # slurmstepd processes of this cluster [of node $1], known by the log they hold open
  local d c f # (their title overwrites their environment, so that cannot be used)
  for d in /proc/[0-9]*; do
    read -r c <"$d/comm" || continue
    case $c in slurmstepd*) ;; *) continue ;; esac
    for f in "$d"/fd/*; do
      case $(readlink "$f") in "$DIR/log/slurmd.${1:-node}"*.log) echo "${d#/proc/}"; break ;; esac
    done
  done 2>/dev/null
}
tree() { # pid $1 and all its descendants, deepest last
  local c; echo "$1"
  for c in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$c"; done
}
wait_for() { # wait_for SECONDS WHAT cmd...
  local n=$(($1 * 10)) what=$2 i; shift 2
  for i in $(seq "$n"); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
  tail -n 15 "$DIR"/log/*.log "$DIR"/log/*.out >&2 2>/dev/null; die "$what: not ready in time"
}
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ---- node namespaces: own hostname, own /etc/hosts; nothing outside is changed --------------
ns_flags() {
  [ "$NS" = 1 ] || return 1
  if [ "$(id -u)" = 0 ]; then echo "--uts --mount"; else
    echo "--user --map-current-user --keep-caps --uts --mount"; fi
}
in_node() { # in_node NODE cmd...
  local node=$1; shift; export LOCAL_CLUSTER_NODE=$node
  # shellcheck disable=SC2016
  exec unshare $(ns_flags) sh -c 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"' \
    "$node" "$DIR/hosts" "$@"
}
ns_works() { [ "$NS" = 1 ] && unshare $(ns_flags) sh -c 'hostname x && mount --bind "$1" /etc/hosts' x "$DIR/hosts" 2>/dev/null; }
start_node() {
  local n=$1
  alive "slurmd.$n" && return 0
  mkdir -p "$DIR/spool/$n"
  if [ -e "$DIR/run/ns" ]; then
    export -f in_node ns_flags; export DIR NS
    spawn "slurmd.$n" bash -c 'in_node "$@"' _ "$n" slurmd -D -N "$n"
  else
    spawn "slurmd.$n" env LOCAL_CLUSTER_NODE="$n" slurmd -D -N "$n"
  fi
}

write_conf() {
  local n i hostname; hostname=$(uname -n); hostname=${hostname%%.*}
  mkdir -p "$DIR"/{run,log,state,spool,bin,dev} || die "cannot write $DIR"
  chmod 755 "$DIR" "$DIR/run" "$DIR/log"
  [ -s "$DIR/munge.key" ] || (umask 077; head -c 128 /dev/urandom >"$DIR/munge.key")
  chmod 600 "$DIR/munge.key"
  if [ -s "$DIR/run/port" ]; then PORT=$(cat "$DIR/run/port"); else
    while :; do
      for ((i = 0; i <= NODES + 1; i++)); do port_free $((PORT + i)) || break; done
      [ "$i" -gt $((NODES + 1)) ] && break; PORT=$((PORT + 100))
      [ "$PORT" -lt 32000 ] || die "no free ports"
    done; echo "$PORT" >"$DIR/run/port"
  fi
  for ((i = 0; i < GPUS; i++)); do ln -sfn /dev/null "$DIR/dev/nvidia$i"; done
  { cat /etc/hosts; for ((n = 1; n <= NODES; n++)); do echo "127.0.0.$((10 + n)) node$n"; done; } >"$DIR/hosts"

  cat >"$CONF" <<EOF
ClusterName=local
SlurmctldHost=$hostname(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it may start again (default 120 s)
AuthInfo=socket=$DIR/run/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
# no cgroups, no setuid: works unprivileged and in containers
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
SlurmctldTimeout=10
SlurmdTimeout=5
KillWait=5
InactiveLimit=0
CompleteWait=0
MinJobAge=3600
# job ids differ from one cluster to the next: submitit would take an old result with the same id for its own
FirstJobId=$(( $(date +%s) % 1000000 + 1000 ))
MaxArraySize=10001
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2,bf_resolution=1
# without this a preempted job gets SIGTERM, not the --signal it asked for (submitit then loses its checkpoint)
SlurmctldParameters=preempt_send_user_signal
PriorityType=priority/basic
PreemptMode=REQUEUE
PreemptType=preempt/$([ "$PREEMPT" = qos ] && echo qos || echo partition_prio)
EOF
  if [ "$DB" = 1 ]; then
    cat >>"$CONF" <<EOF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$DIR/run/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
$([ "$PREEMPT" = qos ] && echo AccountingStorageEnforce=associations,limits,qos)
EOF
    (umask 077; cat >"$DIR/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$DIR/run/munge.sock
DbdHost=$hostname
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$ME
PidFile=$DIR/run/slurmdbd.pid
LogFile=$DIR/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommitDelay=0
EOF
    ); chmod 600 "$DIR/slurmdbd.conf"
  fi
  if [ "$GPUS" -gt 0 ]; then
    printf 'AutoDetect=off\nNodeName=node[1-%d] Name=gpu File=%s/dev/nvidia[0-%d]\n' "$NODES" "$DIR" $((GPUS - 1)) >"$DIR/gres.conf"
    echo "GresTypes=gpu" >>"$CONF"
  fi
  for ((n = 1; n <= NODES; n++)); do
    echo "NodeName=node$n NodeHostname=$([ -e "$DIR/run/ns" ] && echo "node$n" || echo "$hostname") NodeAddr=127.0.0.$((10 + n)) Port=$((PORT + 1 + n)) Sockets=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEM$([ "$GPUS" -gt 0 ] && echo " Gres=gpu:$GPUS") State=UNKNOWN" >>"$CONF"
  done
  cat >>"$CONF" <<EOF
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 DefaultTime=60 MaxTime=INFINITE State=UP
PartitionName=low  Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
EOF
  rm -f "$DIR/bin/sacct"
  [ "$DB" = 1 ] || { shim >"$DIR/bin/sacct"; chmod 755 "$DIR/bin/sacct"; }
}

shim() { cat <<'EOF'
#!/usr/bin/env bash
# Stand-in for `sacct` where there is no slurmdbd: answers from slurmctld's memory (MinJobAge).
# Understands: -j/--jobs IDS, -o/--format COLS (JobID JobName State ExitCode NodeList), -n, -P/-p.
cols=JobID,State,NodeList head=1 ids=
while [ $# -gt 0 ]; do case $1 in
  -j|--jobs) ids="$ids,$2"; shift ;; -j*) ids="$ids,${1#-j}" ;; --jobs=*) ids="$ids,${1#*=}" ;;
  -o|--format) cols=$2; shift ;; -o*) cols=${1#-o} ;; --format=*) cols=${1#*=} ;;
  -n|--noheader) head=0 ;;
esac; shift; done
scontrol show job -o 2>/dev/null | awk -v cols="$cols" -v head="$head" -v ids="${ids#,}" '
  BEGIN { n = split(cols, c, ","); m = split(ids, w, ","); for (i = 1; i <= m; i++) want[w[i]] = 1
          if (head) { for (i = 1; i <= n; i++) printf "%s%s", c[i], i < n ? "|" : "\n" } }
  /^JobId=/ { split("", v); for (i = 1; i <= NF; i++) { k = $i; sub(/=.*/, "", k); x = $i; sub(/^[^=]*=/, "", x); if (!(k in v)) v[k] = x }
    id = v["JobId"]; if ("ArrayJobId" in v) id = v["ArrayJobId"] "_" (v["ArrayTaskId"] ~ /[-,%]/ ? "[" v["ArrayTaskId"] "]" : v["ArrayTaskId"])
    if (m && !(v["JobId"] in want) && !(v["ArrayJobId"] in want) && !(id in want)) next
    nl = v["NodeList"]; if (nl == "(null)" || nl == "") nl = "None assigned"
    for (i = 1; i <= n; i++) { f = tolower(c[i]); sub(/%.*/, "", f)
      o = f == "jobid" ? id : f == "jobname" ? v["JobName"] : f == "state" ? v["JobState"] : f == "exitcode" ? v["ExitCode"] : f == "nodelist" ? nl : ""
      printf "%s%s", o, i < n ? "|" : "\n" } }'
EOF
}

all_alive() { # does every daemon that was started still run?
  local f n
  for f in "$DIR"/run/*.id; do n=${f##*/}; alive "${n%.id}" || return 1; done
}
nodes_up() { # every slurmd listens (a restarted slurmctld remembers old states), every node usable
  local n
  for ((n = 1; n <= NODES; n++)); do (exec 3<>"/dev/tcp/127.0.0.$((10 + n))/$((PORT + 1 + n))") 2>/dev/null || return 1; done
  [ "$(sinfo -h -N -t idle,alloc,mix,comp -o %N | sort -u | wc -l)" -ge "$NODES" ] && ! sinfo -h -o %T | grep -q '\*'
}

PACKAGES="slurmctld slurmd slurm-client munge slurmdbd mariadb-server"
install() {
  local b missing=
  for b in munged slurmctld slurmd sinfo slurmdbd mariadbd; do command -v $b >/dev/null || missing="$missing $b"; done
  [ -n "$missing" ] || return 0
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  # shellcheck disable=SC2086
  $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends $PACKAGES >/dev/null || die "cannot install $PACKAGES"
}

start() {
  local t0 n; t0=$(date +%s.%N)
  for b in munged slurmctld slurmd sinfo; do command -v $b >/dev/null || die "missing $b: $0 install"; done
  [ "$DB" = 0 ] || for b in slurmdbd mariadbd mariadb-install-db; do command -v $b >/dev/null || die "missing $b: $0 install (or use --no-db)"; done
  if [ -e "$DIR/run/up" ] && all_alive; then say "already up in $DIR"; return 0; fi
  mkdir -p "$DIR/run"; [ -O "$DIR" ] || die "$DIR belongs to another user"
  cp /etc/hosts "$DIR/hosts"; rm -f "$DIR/run/ns"; if ns_works; then : >"$DIR/run/ns"; fi
  write_conf; printf '%s\n' "NODES=$NODES DB=$DB NS=$NS" >"$DIR/run/opts"

  alive munged || { rm -f "$DIR/run/munge.sock"; spawn munged munged --foreground --force \
    --socket="$DIR/run/munge.sock" --key-file="$DIR/munge.key" --pid-file="$DIR/run/munged.pid" \
    --seed-file="$DIR/run/munge.seed" --log-file="$DIR/log/munged.log" --num-threads=4; }
  if [ "$DB" = 1 ]; then
    [ -d "$DBDIR/mysql" ] || mariadb-install-db --no-defaults --datadir="$DBDIR" --user="$ME" \
      --auth-root-authentication-method=normal --skip-test-db --innodb-log-file-size=8M >"$DIR/log/dbinstall.out" 2>&1 \
      || die "mariadb-install-db failed, see $DIR/log/dbinstall.out"
    chmod 700 "$DBDIR"; mkdir -p "$DIR/dbsock"; chmod 700 "$DIR/dbsock"
    export MYSQL_UNIX_PORT=$DIR/dbsock/s MYSQL_HOME=$DBDIR
    alive mariadbd || spawn mariadbd mariadbd --no-defaults --datadir="$DBDIR" --user="$ME" --skip-networking \
      --socket="$DIR/dbsock/s" --pid-file="$DIR/run/mariadbd.pid" --performance-schema=OFF --skip-log-bin \
      --innodb-buffer-pool-size=32M --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900
    wait_for 300 mariadbd mariadb-admin --no-defaults --socket="$DIR/dbsock/s" -u root ping
    wait_for 300 munged test -S "$DIR/run/munge.sock"
    alive slurmdbd || spawn slurmdbd slurmdbd -D
    wait_for 300 slurmdbd sacctmgr -n -i list cluster
    if ! sacctmgr -n -P list cluster format=cluster | grep -qx local; then
      # one sacctmgr for all of it: each call costs half a second or more
      sacctmgr -i >"$DIR/log/sacctmgr.out" 2>&1 <<EOF
add cluster local
add qos low,high
modify qos where name=high set Preempt=low,normal Priority=100
modify qos where name=low,normal set PreemptMode=requeue GraceTime=10
add account test
add user $ME account=test qos=normal,low,high defaultqos=normal
quit
EOF
    fi
  fi
  wait_for 300 munged test -S "$DIR/run/munge.sock"
  alive slurmctld || spawn slurmctld slurmctld -D
  for ((n = 1; n <= NODES; n++)); do start_node "node$n"; done
  wait_for 300 nodes nodes_up
  : >"$DIR/run/up"
  say "up in $(echo "$(date +%s.%N) $t0" | awk '{printf "%.1f", $1-$2}') s: $NODES nodes x $CPUS CPUs x $GPUS GPUs," \
    "$([ "$DB" = 1 ] && echo slurmdbd || echo "sacct stand-in"), $([ -e "$DIR/run/ns" ] && echo "own hostnames" || echo "shared hostname"), dir $DIR"
  say "use it: eval \"\$($0 env --dir $DIR)\""
}

stop() {
  local n p i f
  [ -d "$DIR/run" ] || { say "nothing to stop in $DIR"; return 0; }
  if alive slurmctld; then
    timeout 5 scancel --quiet -u "$ME" 2>/dev/null
    for i in $(seq 30); do [ -z "$(stepds)" ] && break; sleep 0.1; done
  fi
  for f in "$DIR"/run/slurmd.*.id; do [ -e "$f" ] && { n=${f##*/}; end "${n%.id}" & } done; wait
  for p in $(for q in $(stepds); do tree "$q"; done); do kill -9 "$p" 2>/dev/null; done
  end slurmctld; end slurmdbd; end mariadbd; end munged
  rm -f "$DIR/run/up" "$DIR/run/port" "$DIR"/run/munge.sock*
  [ "$PURGE" = 1 ] && rm -rf "$DIR" "$DBDIR"
  say "stopped"
}

status() {
  local f n up=1
  for f in "$DIR"/run/*.id; do
    [ -e "$f" ] || { say "down ($DIR)"; return 3; }
    n=${f##*/}; n=${n%.id}
    if alive "$n"; then printf '  %-14s up   pid %s\n' "$n" "$(pid_of "$n")"; else printf '  %-14s DOWN\n' "$n"; up=0; fi
  done
  timeout 5 sinfo -N -o '%.8N %.10P %.10T %.4c %.8m %.8G' && timeout 5 squeue || up=0
  [ "$up" = 1 ] || return 3
}

if [ -e "$DIR/run/opts" ] && [ "$CMD" != start ]; then eval "$(cat "$DIR/run/opts")"; fi
case $CMD in
  install) install ;;
  start) start ;;
  stop) stop ;;
  status) status ;;
  env) echo "export SLURM_CONF=$CONF"; [ -e "$DIR/bin/sacct" ] && echo "export PATH=$DIR/bin:\$PATH"; : ;;
  kill-node)
    alive "slurmd.$ARG" || die "no running node $ARG"
    kill -9 "$(pid_of "slurmd.$ARG")"
    # its steps too: first the daemons (so that nothing is reported), then the tasks
    list=; for p in $(stepds "$ARG"); do list="$list $(tree "$p" | tr '\n' ' ')"; done
    for p in $list; do kill -9 "$p" 2>/dev/null
    done; rm -f "$DIR/run/slurmd.$ARG.id"; say "killed $ARG" ;;
  kill-daemon) alive "$ARG" || die "no running $ARG"; kill -9 "$(pid_of "$ARG")" ;;
  freeze-node) alive "slurmd.$ARG" || die "no running node $ARG"; kill -STOP "$(pid_of "slurmd.$ARG")" ;;
  thaw-node) alive "slurmd.$ARG" || die "no running node $ARG"; kill -CONT "$(pid_of "slurmd.$ARG")" ;;
  start-node) [ -n "$ARG" ] || die "which node?"; start_node "$ARG" ;;
  *) [ -z "$CMD" ] || echo "local_cluster: no verb $CMD" >&2
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
