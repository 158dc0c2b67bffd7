<?php
// Says who answers, and for any other path which one was asked for: a front controller without packages.
$index = getenv('CF_INSTANCE_INDEX') ?: '0';
header('Content-Type: text/plain; charset=utf-8');
if ($_SERVER['REQUEST_URI'] === '/') {
    echo "hello from php, index $index\n";
} else {
    echo 'asked for ', parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), ' with ', json_encode($_GET), "\n";
}
