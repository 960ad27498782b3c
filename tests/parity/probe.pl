# What a container lets its root do, as one JSON object of rows. Runs inside, on Linux x86_64.
#
# Perl, because perl-base is Essential in Debian and Ubuntu: every image has it, and `syscall` needs no compiler.
# Every attempt is made in a child of its own. One that was refused prints the error's name; one that got through
# prints "ok", or the error of the next thing that stopped it (EINVAL, EFAULT …: nobody refused it).
use strict;
use warnings;
use Errno ();
use Socket qw(AF_UNIX SOCK_STREAM SOCK_RAW pack_sockaddr_un);

my ($abstract_socket) = @ARGV;    # the name of one that a process of the host listens on
my %rows;
my $without_waiting = 04000;      # O_NONBLOCK

# --- attempts -----------------------------------------------------------------------------------------------------

sub outcome {    # of an attempt: "ok" or the name of its error
    my ($result) = @_;
    return 'ok' if $result;
    my $number = $! + 0;
    return ( grep { Errno->$_() == $number } grep { !/AGAIN.|DEADLOCK$/ } sort keys %! )[0] // "E$number";
}

sub attempt {    # in a child, since it may succeed
    my ($work) = @_;
    pipe( my $read, my $write ) or die "pipe: $!";
    my $child = fork // die "fork: $!";
    if ( !$child ) {
        alarm 10;
        $! = 0;
        syswrite $write, outcome( $work->() );
        require POSIX;
        POSIX::_exit(0);
    }
    close $write;
    my $said = join '', <$read>;
    waitpid $child, 0;
    return $said || 'killed';
}

sub call {    # a system call
    my ( $number, @arguments ) = @_;
    return sub { syscall( $number, @arguments ) != -1 };
}

my ( $nothing, $here, $somewhere, $zeros ) = ( 0, -100, '/tmp', "\0" x 256 );
my $clone_new_user = 0x10000000;
my %numbers        = (
    'unshare(user)'         => [ 272, $clone_new_user ],
    'unshare(mount)'        => [ 272, 0x00020000 ],
    'unshare(pid)'          => [ 272, 0x20000000 ],
    'unshare(net)'          => [ 272, 0x40000000 ],
    'unshare(cgroup)'       => [ 272, 0x02000000 ],
    'clone(user)'           => [ 56,  $clone_new_user | 17, $nothing, $nothing, $nothing, $nothing ],
    'clone3'                => [ 435, $zeros,     88 ],
    'setns'                 => [ 308, 0,          0 ],
    'mount'                 => [ 165, 'none',     $somewhere, 'tmpfs', 0, 0 ],
    'umount2'               => [ 166, '/dev/shm', 2 ],
    'pivot_root'            => [ 155, $somewhere, $somewhere ],
    'move_mount'            => [ 429, $here,      $somewhere, $here, '/mnt', 0 ],
    'open_tree'             => [ 428, $here,      $somewhere, 1 ],
    'mount_setattr'         => [ 442, $here,      $somewhere, 0, $zeros, 32 ],
    'fsopen'                => [ 430, 'tmpfs',    0 ],
    'fsconfig'              => [ 431, 0,          6, 0, 0, 0 ],
    'fsmount'               => [ 432, 0,          0, 0 ],
    'fspick'                => [ 433, $here,      '/', 0 ],
    'keyctl'                => [ 250, 0,          -3, 0 ],
    'add_key'               => [ 248, 'user',     'probe', 'x', 1, -3 ],
    'request_key'           => [ 249, 'user',     'probe', 0, -3 ],
    'bpf'                   => [ 321, 0,          $zeros, 64 ],
    'perf_event_open'       => [ 298, $zeros,     0, -1, -1, 0 ],
    'userfaultfd'           => [ 323, 0 ],
    'io_uring_setup'        => [ 425, 1,          $zeros ],
    'io_uring_enter'        => [ 426, 0,          0, 0, 0, 0, 0 ],
    'io_uring_register'     => [ 427, 0,          0, 0, 0 ],
    'ptrace(pid 1)'         => [ 101, 16,         1, 0, 0 ],
    'process_vm_readv'      => [ 310, 1,          0, 0, 0, 0, 0 ],
    'process_madvise'       => [ 440, 0,          0, 0, 0, 0 ],
    'pidfd_getfd'           => [ 438, 0,          0, 0 ],
    'kcmp'                  => [ 312, 1,          1, 0, 0, 0 ],
    'kexec_load'            => [ 246, 0,          0, 0, 0 ],
    'kexec_file_load'       => [ 320, -1,         -1, 0, 0, 0 ],
    'init_module'           => [ 175, 0,          0, '' ],
    'finit_module'          => [ 313, -1,         '', 0 ],
    'delete_module'         => [ 176, 'probe',    0 ],
    'open_by_handle_at'     => [ 304, $here,      $zeros, 0 ],
    'name_to_handle_at'     => [ 303, $here,      '/', "\x80\0\0\0" . $zeros, my $mount_id = $zeros, 0 ],
    'reboot'                => [ 169, 0xfee1dead, 672274793, 0, 0 ],
    'swapon'                => [ 167, '/none',    0 ],
    'swapoff'               => [ 168, '/none' ],
    'acct'                  => [ 163, '/none' ],
    'quotactl'              => [ 179, 0x80000700, 0, 0, 0 ],
    'quotactl_fd'           => [ 443, -1,         0, 0, 0 ],
    'settimeofday'          => [ 164, pack( 'q2', 0, -1 ), 0 ],
    'clock_settime'         => [ 227, 0,          pack( 'q2', -1, 0 ) ],
    'clock_adjtime(set)'    => [ 305, 0,          pack( 'V x4 q24', 0x4000, (0) x 24 ) ],
    'adjtimex(set)'         => [ 159, pack( 'V x4 q24', 0x4000, (0) x 24 ) ],
    'sethostname'           => [ 170, '',         0 ],
    'setdomainname'         => [ 171, '',         0 ],
    'iopl'                  => [ 172, 3 ],
    'ioperm'                => [ 173, 0x80,       1, 1 ],
    'syslog(read)'          => [ 103, 3,          my $log = $zeros, 256 ],
    'syslog(size)'          => [ 103, 10,         0, 0 ],
    'vhangup'               => [153],
    'lookup_dcookie'        => [ 212, 0,          0, 0 ],
    'nfsservctl'            => [180],
    '_sysctl'               => [ 156, 0 ],
    'uselib'                => [ 134, '/none' ],
    'ustat'                 => [ 136, 0,          my $ustat = $zeros ],
    'sysfs'                 => [ 139, 3 ],
    'modify_ldt'            => [ 154, 99,         0, 0 ],
    'get_mempolicy'         => [ 239, 0,          0, 0, 0, 0 ],
    'set_mempolicy'         => [ 238, 0,          0, 0 ],
    'mbind'                 => [ 237, 0,          0, 0, 0, 0, 0 ],
    'move_pages'            => [ 279, 0,          0, 0, 0, 0, 0 ],
    'migrate_pages'         => [ 256, 0,          0, 0, 0 ],
    'fanotify_init'         => [ 300, 0,          0 ],
    'personality(no randomised addresses)' => [ 135, 0x0040000 ],
    'personality(ask)'      => [ 135, 0xffffffff ],
    'chroot'                => [ 161, '/' ],
    'mknod(null)'           => [ 133, "/tmp/probe-null-$$", 0020666, 0x103 ],
    'mknod(memory)'         => [ 133, "/tmp/probe-mem-$$",  0020666, 0x101 ],
    'mknod(disk)'           => [ 133, "/tmp/probe-disk-$$", 0060666, 0x800 ],
    'setpriority(-20)'      => [ 141, 0,          0, -20 ],
    'sched_setscheduler(real time)' => [ 144, 0, 1, pack( 'i', 1 ) ],
);
$rows{"call $_"} = attempt( call( @{ $numbers{$_} } ) ) for keys %numbers;

my %sockets = (
    'VSOCK'               => [ 40, SOCK_STREAM, 0 ],
    'ALG'                 => [ 38, 5,           0 ],
    'PACKET'              => [ 17, SOCK_RAW,    0 ],
    'raw IP'              => [ 2,  SOCK_RAW,    1 ],
    'NETLINK audit'       => [ 16, SOCK_RAW,    9 ],
    'NETLINK uevent'      => [ 16, SOCK_RAW,    15 ],
    'BLUETOOTH'           => [ 31, SOCK_RAW,    1 ],
    'XDP'                 => [ 44, SOCK_RAW,    0 ],
);
for my $name ( keys %sockets ) {
    $rows{"socket $name"} = attempt( sub { socket my $socket, $sockets{$name}[0], $sockets{$name}[1], $sockets{$name}[2] } );
}

# --- devices ------------------------------------------------------------------------------------------------------

for my $made ( [ null => 0x103 ], [ memory => 0x101 ], [ disk => 0x800 ], [ fuse => 0xae5 ], [ tun => 0xac8 ] ) {
    my ( $name, $device ) = @$made;
    my $path = "/tmp/probe-open-$name-$$";
    my $kind = $name eq 'disk' ? 0060666 : 0020666;
    $rows{"open a made device: $name"} =
      attempt( sub { syscall( 133, $path, $kind, $device ) != -1 and open my $file, '<', $path } );
    unlink $path;
}
unlink glob "/tmp/probe-*-$$";

sub opens { my ($path) = @_; return sysopen( my $file, $path, $without_waiting ); }

$rows{'devices that open'} = [ grep { ( -c $_ || -b _ ) && opens($_) } sort glob '/dev/* /dev/*/*' ];

# --- files --------------------------------------------------------------------------------------------------------

sub slurp { my ($path) = @_; open my $file, '<', $path or return ''; local $/; return <$file> // ''; }

sub gives {    # whether a file can be read, and says something (a masked one is empty)
    my ($path) = @_;
    sysopen( my $file, $path, $without_waiting ) or return 0;
    my $byte;
    return !!sysread $file, $byte, 1;
}

sub lists { my ($path) = @_; opendir my $directory, $path or return 0; return 2 < ( () = readdir $directory ); }

sub writable {    # as the kernel says: perl's -w only looks at the mode, and believes root anything
    my ($path) = @_;
    return !-l $path && syscall( 21, "$path", 2 ) != -1;
}

sub below {    # every file and directory, without those of processes
    my ( $top, $filter ) = @_;
    my @found;
    my @open = ($top);
    while ( defined( my $path = shift @open ) ) {
        push @found, $path if $path ne $top && $filter->($path);
        next if -l $path || !opendir( my $directory, $path );
        push @open, map { "$path/$_" } grep { !/^(\.\.?|[0-9]+|self|thread-self)$/ } readdir $directory;
    }
    return [ sort @found ];
}

my @masked = qw(
  /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
  /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
);
$rows{"read $_"} = !-e $_ ? 'ENOENT' : ( -d _ ? lists($_) : gives($_) ) ? 'ok' : 'nothing' for @masked;
for my $path (qw(/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/sys/vm/swappiness
    /proc/sys/net/ipv4/ip_forward /proc/irq/default_smp_affinity /proc/bus /proc/fs /proc/mtrr /sys/kernel/mm/ksm/run))
{
    $rows{"write $path"} = attempt( sub { writable($path) } );
}
$rows{"open $_"} = attempt( sub { opens($_) } ) for qw(/proc/kmsg /dev/kmsg /dev/mem /dev/fuse /dev/net/tun /proc/1/mem);
$rows{'writable below /proc'} = below( '/proc', \&writable );
$rows{'writable below /sys'}  = below( '/sys',  \&writable );
$rows{'readable below /proc'} = below( '/proc', sub { -f $_[0] && opens( $_[0] ) } );

# --- mounts -------------------------------------------------------------------------------------------------------

my ( %options, @shared, @cgroups );
for ( split /\n/, slurp('/proc/self/mountinfo') ) {
    my ( $target, $options, $rest ) = /^(?:\S+ ){4}(\S+) (\S+) (.*)$/;
    $options{$target} = [ grep { /^(ro|nosuid|nodev|noexec)$/ } split /,/, $options ];
    push @shared,  $target if $rest =~ /\b(shared|master):/;
    push @cgroups, $target if $rest =~ /- cgroup2? /;
}
$rows{"options of $_"} = $options{$_} // [] for qw(/ /proc /sys /dev /dev/pts /dev/shm /dev/mqueue /proc/sys /proc/bus);
$rows{'mounts that propagate'} = \@shared;
$rows{'cgroup files that are writable'} = [ map { @{ below( $_, \&writable ) } } @cgroups ];
$rows{'cgroup release_agent'} =
  attempt( sub { grep { syscall( 21, "$_/release_agent", 2 ) != -1 } @cgroups or !( $! ||= 2 ) } );
$rows{'write to the root'} = attempt( sub { open my $file, '>', "/probe-$$" and unlink "/probe-$$" } );

# --- this process -------------------------------------------------------------------------------------------------

my %status = slurp('/proc/self/status') =~ /^(\w+):\t(.*)$/mg;
my @capabilities = qw(
  CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
  SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
  MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
);
for (qw(Inh Prm Eff Bnd Amb)) {
    my $mask = hex $status{"Cap$_"};
    $rows{"capabilities $_"} = [ sort map { $capabilities[$_] // "CAP_$_" } grep { $mask >> $_ & 1 } 0 .. 63 ];
}
$rows{'no_new_privs'} = $status{NoNewPrivs} + 0;
$rows{'seccomp mode'} = $status{Seccomp} + 0;

my ($outside) = grep { $$_[0] <= 0 } map { [split] } split /\n/, slurp('/proc/self/uid_map');
$rows{'root is root of the host'} = $outside && $$outside[1] == 0 ? 'ok' : 'no';
$rows{'set-user-id root'} = attempt( sub {
    my $copy = "/tmp/probe-suid-$$";
    system("cp /usr/bin/id $copy && chmod 4755 $copy") == 0 or return 0;
    my $said = qx(setpriv --reuid 1000 --regid 1000 --clear-groups $copy -u 2>/dev/null);
    unlink $copy;
    return 1 if $said eq "0\n";
    $! = 1;
    return 0;
} );

my %parent;    # of every process that can be seen
for ( glob '/proc/[0-9]*/stat' ) { $parent{$1} = $2 if slurp($_) =~ /^(\d+) .*\) \S (\d+)/s; }

sub line { my ($pid) = @_; my @line; while ($pid) { push @line, $pid; $pid = $parent{$pid}; } return @line; }

my %own = map { $_ => 1 } 1, line($$);
$rows{'processes of the host'} = [ grep { my $pid = $_; !grep { $own{$_} } line($pid) } sort keys %parent ];
$rows{'abstract socket of the host'} = attempt( sub {
    socket my $socket, AF_UNIX, SOCK_STREAM, 0 or return 0;
    connect $socket, pack_sockaddr_un("\0$abstract_socket");
} );

for ( split /\n/, slurp('/proc/self/limits') ) {
    next unless /^Max (.*?) {2,}\S+ +(\S+)/;
    $rows{"limit of $1"} = $2 eq 'unlimited' ? -1 : $2 + 0;
}

# --- as JSON ------------------------------------------------------------------------------------------------------

sub json {
    my ($value) = @_;
    return '[' . join( ', ', map { json($_) } @$value ) . ']' if ref $value eq 'ARRAY';
    return $value if $value =~ /^-?\d+$/ && !ref $value;
    $value =~ s/(["\\])/\\$1/g;
    return qq("$value");
}
print "{\n", join( ",\n", map { '  ' . json($_) . ': ' . json( $rows{$_} ) } sort keys %rows ), "\n}\n";
