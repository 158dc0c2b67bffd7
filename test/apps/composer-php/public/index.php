<?php
require __DIR__ . "/../vendor/autoload.php";

header("Content-Type: text/plain; charset=utf-8");
echo Peer\Greeting\Greeting::text(), ", index ", getenv("CF_INSTANCE_INDEX") ?: "0", "\n";
