# Runs as root in the virtual machine, where nothing but cgroup version 2 is mounted and systemd is process 1.
# Every check says what it looked at; the first that does not hold ends the run.
set -Eeuo pipefail

cgroups=/sys/fs/cgroup
data=/var/lib/apron
apps=http://127.0.0.1:80
began=$(date +%s)

step() { echo "guest: $(($(date +%s) - began)) s: $*"; }

fail() {
    echo "guest: FAILED: $*"
    journalctl --no-pager --output=cat --lines=60 || true
    find $cgroups -maxdepth 2 -type d -path "*apron*" || true
    exit 1
}

trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# is NAME EXPECTED ACTUAL
is() { [ "$2" = "$3" ] || fail "$1 is '$3', expected '$2'"; }

# eventually SECONDS COMMAND...: tries until it succeeds.
eventually() {
    local end=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || fail "did not come true: $*"
        sleep 0.2
    done
}

# value FILE NAME: the rest of the line `NAME: value`.
value() { sed -n "s/^$2:[[:space:]]*//p" "$1"; }

# get SERVICE [PATH]: what it answers through the proxy.
get() { curl --silent --show-error --fail --max-time 20 --header "Host: $1.apron.localhost" "$apps/${2-}"; }

# instance: the cgroup of the only instance, which has a process.
instance() {
    local found=()
    for procs in $cgroups/apron-"$id"/*/cgroup.procs; do
        [[ $procs == */shims/* ]] || [ -z "$(cat "$procs" 2>/dev/null)" ] || found+=("${procs%/*}")
    done
    [ ${#found[@]} = 1 ] && echo "${found[0]}"
}

limits() {
    is cpu.max "25000 100000" "$(cat "$1/cpu.max")"
    is memory.max $((512 * 1024 * 1024)) "$(cat "$1/memory.max")"
    is memory.swap.max 0 "$(cat "$1/memory.swap.max" 2>/dev/null || echo 0)"
    is pids.max 4096 "$(cat "$1/pids.max")"
    is "the platform's cpu.weight" 800 "$(cat "$weight")"
}

# What systemd does to the hierarchy that it thinks is all its own.
systemd_rearranges() {
    systemctl daemon-reload
    systemctl daemon-reexec
    # A unit that needs the CPU controller comes and goes.
    printf '[Service]\nType=oneshot\nExecStart=true\nCPUQuota=50%%\n' >/run/systemd/system/limited.service
    systemctl daemon-reload
    systemctl start limited
    rm /run/systemd/system/limited.service
    systemctl daemon-reload
}

# unchanged WHAT: the same process of the same instance, and it answers.
unchanged() {
    is "the instance after $1" "$cgroup" "$(instance)"
    is "the instance's pid after $1" "$pid" "$(cat "$cgroup/cgroup.procs")"
    limits "$cgroup"
    is "the answer after $1" "revision 1" "$(get web)"
    step "unchanged after $1"
}

nothing_left() {
    is "cgroups left" "" "$(find $cgroups -maxdepth 1 -name 'apron-*')"
    is "interfaces left" "" "$(ip -brief link | grep -v '^lo ' || true)"
    is "packet rules left" "" "$(nft list tables | grep apron || true)"
    is "mounts left" "" "$(grep ' /var/lib/' /proc/self/mounts || true)"
    is "processes left" "" "$(grep --no-messages --files-with-matches apron /proc/[0-9]*/comm || true)"
}

step "cgroup version 2, systemd $(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p'), Linux $(uname -r)"
is "the file system of $cgroups" cgroup2fs "$(stat --file-system --format=%T $cgroups)"
is "version 1 hierarchies" "" "$(awk '$3 == "cgroup"' /proc/self/mounts)"
ln -s /payload/apron /usr/local/bin/apron

/payload/compute-tests --test-threads=1 --quiet cgroup || fail "the unit tests of control groups"
step "unit tests of control groups pass"

cp /payload/apron.service /etc/systemd/system/
systemctl daemon-reload
systemctl start apron
eventually 60 apron ls
id=$(cat $data/id)
step "the unit apron.service serves"

weight=$cgroups/apron-platform-$id/cpu.weight
is "the platform's cpu.weight" 800 "$(cat "$weight")"
systemd_rearranges
is "the platform's cpu.weight after systemd rearranged its cgroups" 800 "$(cat "$weight")"
step "the weight of the platform's own processes holds"

apron image import /payload/application.tar
apron deploy vm-application:latest --name web --cpu 0.25 --memory 0.5
is "the answer" "revision 1" "$(get web)"
step "an image is deployed and answers through the proxy"
apron tag web apron:idle=off

cgroup=$(instance) || fail "not exactly one instance"
pid=$(cat "$cgroup/cgroup.procs")
eventually 20 grep --quiet --line-regexp "25000 100000" "$cgroup/cpu.max"
limits "$cgroup"
is Seccomp 2 "$(value /proc/"$pid"/status Seccomp)"
is NoNewPrivs 1 "$(value /proc/"$pid"/status NoNewPrivs)"
is "the instance's own view of its cgroup" "0::/" "$(nsenter --target "$pid" --cgroup cat /proc/"$pid"/cgroup)"
[ "$(awk '{print $2}' /proc/"$pid"/uid_map)" -ge 65536 ] || fail "uid_map is $(cat /proc/"$pid"/uid_map)"
is "ids of uid_map" 65536 "$(awk '{print $3}' /proc/"$pid"/uid_map)"
step "limits, seccomp, no-new-privileges, id map and cgroup namespace hold"

systemd_rearranges
unchanged "systemd rearranged its cgroups"

systemctl restart apron
eventually 60 apron ls
unchanged "systemctl restart"

systemctl kill --kill-whom=main --signal=KILL apron
restarted() { [ "$(systemctl show --property=NRestarts --value apron)" != 0 ]; }
eventually 60 restarted
eventually 60 apron ls
unchanged "kill -9 of the supervisor"

node=$(grep --only-matching '"pid":[0-9]*' $data/run/node.json | cut -d: -f2)
kill -KILL "$node"
another_node() { [ "$(grep --only-matching '"pid":[0-9]*' $data/run/node.json | cut -d: -f2)" != "$node" ]; }
eventually 60 another_node
eventually 60 test -S $data/run/node.sock
unchanged "kill -9 of the node"

# A sixtieth of a quarter of a CPU is what is left of it; the least that the kernel takes is a millisecond.
apron tag web apron:idle=throttle apron:idle-after-ms=200/400/600
eventually 20 grep --quiet --line-regexp "1000 240000" "$cgroup/cpu.max"
is "the answer of a throttled instance" "revision 1" "$(get web)"
step "an instance without requests is throttled, and answers"
apron tag web apron:idle=freeze
for _ in 1 2 3; do
    eventually 20 grep --quiet "frozen 1" "$cgroup/cgroup.events"
    used=$(grep usage_usec "$cgroup/cpu.stat")
    sleep 1
    is "what a frozen instance has used" "$used" "$(grep usage_usec "$cgroup/cpu.stat")"
    is "the answer of a frozen instance" "revision 1" "$(get web)"
done
is "the instance's pid after it was frozen" "$pid" "$(cat "$cgroup/cgroup.procs")"
step "an instance without requests is frozen, uses no CPU, and answers"
[ "$(cat "$cgroup/memory.current")" -gt $((32 * 1024 * 1024)) ] || fail "without swap its memory has gone"
dd if=/dev/zero of=/swap bs=1M count=128 status=none
chmod 600 /swap
mkswap /swap >/dev/null
swapon /swap
in_swap() { [ "$(cat "$cgroup/memory.swap.current")" -gt $((24 * 1024 * 1024)) ]; }
for _ in 1 2; do
    is "the memory of a frozen instance" "held $((32 * 1024 * 1024))" "$(get web held)"
    # A minute after it was frozen.
    eventually 90 in_swap
    [ "$(cat "$cgroup/memory.current")" -lt $((16 * 1024 * 1024)) ] || fail "it has $(cat "$cgroup/memory.current") in memory"
done
is "memory.swap.max" 0 "$(cat "$cgroup/memory.swap.max")"
is "the memory of a frozen instance" "held $((32 * 1024 * 1024))" "$(get web held)"
is "the instance's pid after its memory was in swap" "$pid" "$(cat "$cgroup/cgroup.procs")"
swapoff /swap
step "where there is swap, the memory of a frozen instance goes there, and comes back"
apron tag web apron:idle=zero
for _ in 1 2 3; do
    eventually 60 test ! -e "$cgroup"
    is "the answer of an instance without a process" "revision 1" "$(get web)"
done
step "an instance without requests is stopped, and started by the next one"
apron tag web apron:idle=off
get web >/dev/null
eventually 20 grep --quiet --line-regexp "25000 100000" "$cgroup/cpu.max"
pid=$(cat "$cgroup/cgroup.procs")

if apron deploy vm-application:latest --name web --cpu 0.25 --memory 0.5 --env FILL=1 >/tmp/fill 2>&1; then
    fail "an instance that uses all memory was deployed: $(cat /tmp/fill)"
fi
grep --quiet "needed more memory" <(tail -n 1 /tmp/fill) || fail "the last line does not say why: $(cat /tmp/fill)"
unchanged "an instance that ran out of memory"

apron rm web
eventually 60 test ! -e "$cgroup"
[ ! -e /proc/"$pid" ] || fail "process $pid of the removed instance lives"
step "apron rm removes the instance"

systemctl stop apron
! systemctl is-failed --quiet apron || fail "apron.service failed"
# In the cgroup of this script, a service of systemd that delegates nothing.
apron serve --data-dir $data --ephemeral >/tmp/serve.log 2>&1 &
serve=$!
eventually 60 grep --quiet '^ready ' /tmp/serve.log
apron deploy vm-application:latest --name web --cpu 0.25 --memory 0.5
is "the answer" "revision 1" "$(get web)"
kill -TERM $serve
wait $serve || fail "apron serve --ephemeral ended with $?: $(cat /tmp/serve.log)"
nothing_left
step "stopped with --ephemeral, nothing is left"

# As within a container: what looks like the root of the hierarchy is a cgroup in which processes already are.
nested=$cgroups/system.slice/nested.service
cat >/run/systemd/system/nested.service <<'UNIT'
[Service]
Type=exec
Delegate=yes
KillMode=mixed
ExecStart=unshare --cgroup --mount bash -c 'sleep 600 & umount --lazy /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && \
    exec apron serve --data-dir /var/lib/nested --ephemeral'
UNIT
systemctl daemon-reload
systemctl start nested
eventually 60 apron ls --data-dir /var/lib/nested
apron image import --data-dir /var/lib/nested /payload/application.tar
apron deploy vm-application:latest --data-dir /var/lib/nested --name web --cpu 0.25 --memory 0.5
is "the answer" "revision 1" "$(get web)"
apron tag --data-dir /var/lib/nested web apron:idle=off
eventually 20 grep --quiet --line-regexp "25000 100000" "$nested"/apron-*/????????????????????????????????/cpu.max
is "cgroups in the root" "" "$(find $cgroups -maxdepth 1 -name 'apron-*')"
is "the limits below the unit" "25000 100000" "$(cat "$nested"/apron-*/????????????????????????????????/cpu.max)"
is "processes at the top of the unit" "" "$(cat "$nested"/cgroup.procs)"
systemctl stop nested
! systemctl is-failed --quiet nested || fail "nested.service failed"
nothing_left
step "works within a cgroup namespace and leaves nothing"

echo "guest: passed"
