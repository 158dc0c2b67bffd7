# Says who answers, with nothing but Perl's core: a language without a buildpack, run by its Procfile.
use strict;
use warnings;
use IO::Socket::INET;

$| = 1;
my $index = $ENV{CF_INSTANCE_INDEX} // 0;
my $server = IO::Socket::INET->new(LocalPort => $ENV{PORT} // 8080, Listen => 128, ReuseAddr => 1)
  or die "cannot listen: $!\n";
print 'hello-procfile listens on ', $server->sockport, "\n";
$SIG{TERM} = sub { exit 0 };
$SIG{PIPE} = 'IGNORE';

while (1) {
  my $client = $server->accept or next;
  # A client that says nothing must not keep the others waiting.
  eval {
    local $SIG{ALRM} = sub { die "slow\n" };
    alarm 5;
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    alarm 0;
    my $body = "hello from perl, index $index\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
  };
  alarm 0;
  close $client;
}
