<?php

declare(strict_types=1);

require __DIR__ . '/autoload.php';

Web\Visits::connect()->migrate();
echo "the schema is up to date\n";
