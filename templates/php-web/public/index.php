<?php

declare(strict_types=1);

use Web\Visits;

require dirname(__DIR__) . '/src/autoload.php';

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$visits = Visits::connect();

if ($path === '/healthz') {
    $visits->count();
    header('Content-Type: text/plain');
    echo "ok\n";
    return;
}
if ($path !== '/') {
    http_response_code(404);
    header('Content-Type: text/plain');
    echo "not found\n";
    return;
}
$visits->add($_SERVER['HTTP_USER_AGENT'] ?? '');
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>It runs</title>
<style>
  :root { color-scheme: light dark; font: 17px/1.55 system-ui, sans-serif; }
  body { max-width: 42rem; margin: 12vh auto; padding: 0 1.5rem; }
  h1 { font-size: 2.4rem; margin: 0 0 .3em; letter-spacing: -.02em; }
  table { border-collapse: collapse; width: 100%; font-size: .85rem; }
  td, th { text-align: left; padding: .45rem .6rem .45rem 0; }
</style>
<h1>It runs.</h1>
<p>PHP <?= PHP_VERSION ?> with PostgreSQL, each in a container of this project. Visits: <?= $visits->count() ?></p>
<table>
  <tr><th>visit</th><th>at</th><th>browser</th></tr>
  <?php foreach ($visits->newest() as $visit): ?>
  <tr><td><?= $visit['id'] ?></td><td><?= $visit['at'] ?> UTC</td><td><?= htmlspecialchars($visit['agent']) ?></td></tr>
  <?php endforeach; ?>
</table>
</html>
