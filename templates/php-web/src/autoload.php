<?php

declare(strict_types=1);

// Replace with vendor/autoload.php once Composer installs packages.
spl_autoload_register(static function (string $class): void {
    $file = __DIR__ . '/' . str_replace('\\', '/', preg_replace('/^Web\\\\/', '', $class)) . '.php';
    if (is_file($file)) {
        require $file;
    }
});
