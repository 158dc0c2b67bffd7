<?php
// Decides for PHP's own server what a path may show: files and scripts of the served folder, but nothing hidden, and none of
// the app's own files when the folder is the app's; all else is for index.php.

$path = rawurldecode(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/');
$root = $_SERVER['DOCUMENT_ROOT'];
// `.well-known` is the one hidden name that is meant for everyone (RFC 8615).
$hidden = preg_match('#/\.(?!well-known(/|$))#', $path) === 1 || str_contains($path, "\0");
$own = realpath($root) === realpath(getenv('HOME') ?: '.')
    && preg_match('#^/+(vendor(/|$)|composer\.(json|lock)$|Procfile$|auth\.json$)#i', $path) === 1;
if ($hidden || $own) {
    http_response_code(404);
    header('Content-Type: text/plain; charset=utf-8');
    echo "not found\n";
    return true;
}
$file = realpath($root . $path);
if ($file !== false && is_file($file) && str_starts_with($file, realpath($root) . '/')) {
    return false;
}
if ($file !== false && is_dir($file) && (is_file("$file/index.php") || is_file("$file/index.html"))) {
    return false;
}
if (is_file("$root/index.php")) {
    $_SERVER['SCRIPT_NAME'] = '/index.php';
    $_SERVER['SCRIPT_FILENAME'] = "$root/index.php";
    $_SERVER['PHP_SELF'] = '/index.php';
    chdir($root);
    require "$root/index.php";
    return true;
}
http_response_code(404);
header('Content-Type: text/plain; charset=utf-8');
echo "not found\n";
return true;
