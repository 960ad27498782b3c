<?php

// Tests without a library: each prints its name, the first failure ends the program with exit code 1.

declare(strict_types=1);

require dirname(__DIR__) . '/src/autoload.php';

function check(string $name, mixed $found, mixed $expected): void
{
    if ($found !== $expected) {
        throw new RuntimeException("$name: expected " . json_encode($expected) . ', got ' . json_encode($found));
    }
    echo "ok: $name\n";
}

$visits = Web\Visits::connect();
$visits->migrate();
$visits->migrate();
$before = $visits->count();
$visits->add(str_repeat('ä', 100));
check('a visit is counted', $visits->count(), $before + 1);
check('the newest visit is first, and shortened', $visits->newest(1)[0]['agent'], str_repeat('ä', 80));
