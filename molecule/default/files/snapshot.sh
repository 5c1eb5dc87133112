# shellcheck shell=sh
# Print every file of this host with its size, mode, owner and time of change, and every directory with its mode and
# owner. Left out are temporary files, logs, caches and what systemd's timers note.
find / -xdev \
    \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
    -o -path /var/cache -o -path /var/lib/systemd -o -name .ansible -o -name __pycache__ \) -prune \
    -o -type d -printf '%p %M %u:%g\n' \
    -o -printf '%p %M %u:%g %s %C@\n' | sort
