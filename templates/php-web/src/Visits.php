<?php

declare(strict_types=1);

namespace Web;

use PDO;

/** The visitor log: a table in PostgreSQL. */
final class Visits
{
    private const SCHEMA = <<<'SQL'
        CREATE TABLE IF NOT EXISTS visits (
            id bigserial PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT now(),
            agent text NOT NULL
        )
        SQL;

    public function __construct(private readonly PDO $database)
    {
    }

    /** Connect to the database that PGHOST, PGUSER, PGPASSWORD and PGDATABASE name. */
    public static function connect(): self
    {
        return new self(new PDO('pgsql:', options: [PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC]));
    }

    /** Bring the schema up to date. */
    public function migrate(): void
    {
        $this->database->exec(self::SCHEMA);
    }

    /** Add a visit. */
    public function add(string $agent): void
    {
        $this->database->prepare('INSERT INTO visits (agent) VALUES (?)')->execute([mb_substr($agent, 0, 80)]);
    }

    /** Return the number of visits. */
    public function count(): int
    {
        return (int) $this->database->query('SELECT count(*) FROM visits')->fetchColumn();
    }

    /** Return the newest visits. */
    public function newest(int $count = 5): array
    {
        $query = 'SELECT id, to_char(at, \'HH24:MI:SS\') AS at, agent FROM visits ORDER BY id DESC LIMIT ?';
        $statement = $this->database->prepare($query);
        $statement->execute([$count]);
        return $statement->fetchAll();
    }
}
