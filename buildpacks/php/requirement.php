<?php
// Checks what composer.json says of PHP itself against this PHP; prints one line and exits with 1 when it cannot be met.
// Understands the operators of Composer's versions; all else Composer checks itself.

$complain = function (string $why): never {
    echo " !     $why\n";
    exit(1);
};
$document = json_decode((string) file_get_contents($argv[1]), true);
if (!is_array($document)) {
    $complain('composer.json is not valid JSON: ' . json_last_error_msg());
}
$wanted = $document['config']['platform']['php'] ?? $document['require']['php'] ?? '';
if (!is_string($wanted) || $wanted === '') {
    exit(0);
}
$meets = function (string $one): bool {
    if (!preg_match('/^(\^|~|>=|<=|>|<|!=|=|==)?\s*v?(\d+(?:\.\d+)*)(\.\*)?$/', trim($one), $parts)) {
        return true;
    }
    [, $operator, $version] = $parts;
    $numbers = explode('.', $version);
    if (in_array($operator, ['', '^', '~'], true)) {
        $fixed = match ($operator) {
            '^' => 1,
            '~' => max(1, count($numbers) - 1),
            // A full version stands for its minor version, of which the stack has the latest.
            default => min(2, count($numbers)),
        };
        $own = explode('.', PHP_VERSION);
        return array_slice($own, 0, $fixed) === array_slice($numbers, 0, $fixed)
            && ($operator === '' || version_compare(PHP_VERSION, $version, '>='));
    }
    return version_compare(PHP_VERSION, $version, $operator);
};
foreach (preg_split('/\s*\|\|?\s*/', $wanted) as $alternative) {
    $all = preg_split('/\s*,\s*|\s+(?=[\^~<>=!v\d])/', trim($alternative));
    if (array_filter($all, fn ($one) => !$meets($one)) === []) {
        exit(0);
    }
}
$complain("no PHP \"$wanted\" (composer.json) on this node; there is " . PHP_VERSION . '. Ask for that, or push to a node that has another');
