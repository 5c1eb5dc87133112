# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The purge as a procedure of the database, which a timer, pg_cron or a person calls: celery_purge(...).

It walks the primary key from the lowest id, because ids grow with time, and removes what has expired in batches, each
in a transaction of its own. It ends after a batch in which nothing is as old as the younger of its two limits. Ids that
are not in the order of time are found anyway: within a batch at once, elsewhere by the walk through the whole table
that comes the first time and then every seven days. Rows that are older than the column `created` carry the time at
which it was added; their date_done is older, and counts.

The pause between two batches is as long as was asked for, and three times as long as the batch took where that is
more. What cannot be locked at once is left to the next run. No table is ever locked as a whole.
"""

from __future__ import annotations

STATUS_COLUMNS = {
    "started": "{moment}",
    "ended": "{moment}",
    "removed": "bigint NOT NULL DEFAULT 0",
    "error": "text",
    "backlog": "bigint",
    "oldest": "{moment}",
    # When a run that looked at every row began.
    "walked_all": "{moment}",
    "retention": "bigint",
    "retention_unfinished": "bigint",
}

TABLES = ("celery_taskmeta", "celery_tasksetmeta")

_POSTGRESQL = """
CREATE OR REPLACE PROCEDURE {prefix}celery_purge(
    retention bigint,
    retention_unfinished bigint,
    batch integer DEFAULT 5000,
    pause double precision DEFAULT 0.05
)
LANGUAGE plpgsql
SECURITY INVOKER
AS $purge$
DECLARE
    lock_key CONSTANT bigint = hashtextextended({text}, 0);
    begun CONSTANT timestamp = clock_timestamp() AT TIME ZONE 'utc';
    done_before timestamp;
    created_before timestamp;
    young timestamp;
    walks_all boolean;
    target text;
    passed bigint;
    upto bigint;
    seen bigint;
    expired bigint;
    has_old boolean;
    kept timestamp;
    gone bigint;
    oldest_kept timestamp;
    skipped bigint = 0;
    batch_begun timestamptz;
    took double precision;
    problem text;
BEGIN
    IF retention IS NULL OR retention < 1 OR retention_unfinished IS NULL OR retention_unfinished < 1 THEN
        RAISE EXCEPTION 'retention and retention_unfinished must be 1 second or more.';
    END IF;
    IF batch IS NULL OR batch < 1 OR pause IS NULL OR pause < 0 THEN
        RAISE EXCEPTION 'batch must be 1 row or more, and pause 0 seconds or more.';
    END IF;
    IF current_setting('statement_timeout') <> '0' THEN
        RAISE EXCEPTION USING MESSAGE = 'statement_timeout is ' || current_setting('statement_timeout')
            || ' in this session and would end the purge half way, set it to 0 for the role ' || current_user || '.';
    END IF;
    IF NOT pg_try_advisory_lock(lock_key) THEN
        RAISE NOTICE 'Another purge is running, so this one does nothing.';
        RETURN;
    END IF;
    done_before = begun - make_interval(secs => retention);
    created_before = begun - make_interval(secs => retention_unfinished);
    young = greatest(done_before, created_before);
    SELECT walked_all IS NULL OR walked_all < begun - interval '7 days' INTO walks_all
        FROM {prefix}celery_purge_status;
    UPDATE {prefix}celery_purge_status SET
        started = begun, ended = NULL, removed = 0, error = NULL,
        retention = celery_purge.retention, retention_unfinished = celery_purge.retention_unfinished;
    COMMIT;
    FOREACH target IN ARRAY ARRAY['celery_taskmeta', 'celery_tasksetmeta'] LOOP
        passed = -9223372036854775808;
        LOOP
            batch_begun = clock_timestamp();
            -- A block that catches what happens cannot commit, so the commit stands behind it.
            BEGIN
                PERFORM set_config('lock_timeout', '5s', true);
                EXECUTE 'SELECT max(id), count(*), count(*) FILTER (WHERE is_expired),'
                    ' coalesce(bool_or(is_old), false), min(coalesce(date_done, created)) FILTER (WHERE NOT is_expired)'
                    ' FROM (SELECT id, date_done, created, created < $3 OR coalesce(date_done < $3, false) AS is_old,'
                    ' CASE WHEN date_done IS NULL THEN created < $2 ELSE date_done < $1 END AS is_expired'
                    ' FROM {prefix}' || target || ' WHERE id > $4 ORDER BY id LIMIT $5) AS walked'
                    INTO upto, seen, expired, has_old, kept USING done_before, created_before, young, passed, batch;
                IF expired > 0 THEN
                    EXECUTE 'DELETE FROM {prefix}' || target || ' WHERE id = ANY (ARRAY('
                        'SELECT id FROM {prefix}' || target || ' WHERE id > $3 AND id <= $4'
                        ' AND CASE WHEN date_done IS NULL THEN created < $2 ELSE date_done < $1 END'
                        ' ORDER BY id FOR UPDATE SKIP LOCKED))'
                        USING done_before, created_before, passed, upto;
                    GET DIAGNOSTICS gone = ROW_COUNT;
                    skipped = skipped + expired - gone;
                    UPDATE {prefix}celery_purge_status SET removed = removed + gone;
                END IF;
            EXCEPTION WHEN query_canceled OR OTHERS THEN
                problem = SQLERRM;
            END;
            COMMIT;
            EXIT WHEN problem IS NOT NULL;
            oldest_kept = least(oldest_kept, kept);
            EXIT WHEN seen < batch OR NOT (has_old OR walks_all);
            passed = upto;
            took = extract(epoch FROM clock_timestamp() - batch_begun);
            BEGIN
                -- A server that is busy gets as large a share of its time for itself as one that is not.
                PERFORM pg_sleep(CASE WHEN pause > 0 THEN greatest(pause, 3 * took) ELSE 0 END);
            EXCEPTION WHEN query_canceled THEN
                problem = SQLERRM;
            END;
            EXIT WHEN problem IS NOT NULL;
        END LOOP;
        EXIT WHEN problem IS NOT NULL;
    END LOOP;
    UPDATE {prefix}celery_purge_status SET
        ended = clock_timestamp() AT TIME ZONE 'utc',
        error = problem,
        backlog = CASE WHEN problem IS NULL THEN skipped END,
        oldest = CASE WHEN problem IS NULL THEN oldest_kept ELSE oldest END,
        walked_all = CASE WHEN problem IS NULL AND walks_all THEN begun ELSE walked_all END;
    COMMIT;
    PERFORM pg_advisory_unlock(lock_key);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING MESSAGE = 'The purge ended early: ' || problem;
    END IF;
END
$purge$
"""

# Rows that are locked are only passed over by a SELECT that stands for itself: a DELETE would wait for them.
_MYSQL_WALK = """
    SET passed = -9223372036854775808, walking = TRUE;
    WHILE walking DO
        SET batch_begun = SYSDATE(6);
        SELECT MAX(id), COUNT(*), COALESCE(SUM(is_expired), 0), COALESCE(MAX(is_old), 0),
               MIN(IF(is_expired, NULL, COALESCE(date_done, created)))
          INTO upto, seen, expired, has_old, kept
          FROM (SELECT id, date_done, created,
                       created < young OR COALESCE(date_done < young, FALSE) AS is_old,
                       IF(date_done IS NULL, created < created_before, date_done < done_before) AS is_expired
                  FROM {table} WHERE id > passed ORDER BY id LIMIT batch) AS walked;
        IF expired > 0 THEN
            -- Otherwise the rows and gaps that are only looked at would be locked, too.
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
            START TRANSACTION;
            SELECT JSON_ARRAYAGG(id) INTO chosen FROM {table}
             WHERE id > passed AND id <= upto
               AND IF(date_done IS NULL, created < created_before, date_done < done_before)
               FOR UPDATE SKIP LOCKED;
            DELETE {table} FROM JSON_TABLE(COALESCE(chosen, '[]'), '$[*]' COLUMNS (id BIGINT PATH '$')) AS listed
              JOIN {table} ON {table}.id = listed.id;
            SET gone = ROW_COUNT();
            UPDATE celery_purge_status SET removed = removed + gone;
            COMMIT;
            SET skipped = skipped + expired - gone;
        END IF;
        SET oldest_kept = COALESCE(LEAST(oldest_kept, kept), oldest_kept, kept);
        SET walking = seen >= batch AND (has_old OR walks_all), passed = upto;
        -- A server that is busy gets as large a share of its time for itself as one that is not.
        SET took = TIMESTAMPDIFF(MICROSECOND, batch_begun, SYSDATE(6)) / 1000000;
        IF walking AND SLEEP(IF(pause > 0, GREATEST(pause, 3 * took), 0)) THEN
            SIGNAL SQLSTATE '70100' SET MESSAGE_TEXT = 'The purge was canceled.';
        END IF;
    END WHILE;
"""

_MYSQL = """
CREATE PROCEDURE celery_purge(
    IN retention BIGINT, IN retention_unfinished BIGINT, IN batch INT, IN pause DOUBLE
)
MODIFIES SQL DATA
SQL SECURITY INVOKER
removal: BEGIN
    DECLARE begun DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE lock_name VARCHAR(64) DEFAULT CONCAT('celery_purge ', MD5(DATABASE()));
    DECLARE done_before, created_before, young, kept, oldest_kept DATETIME;
    DECLARE walks_all, has_old, walking BOOLEAN;
    DECLARE passed, upto, seen, expired, gone BIGINT;
    DECLARE skipped BIGINT DEFAULT 0;
    DECLARE batch_begun DATETIME(6);
    DECLARE took DOUBLE;
    DECLARE chosen LONGTEXT;
    DECLARE problem TEXT;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        GET DIAGNOSTICS CONDITION 1 problem = MESSAGE_TEXT;
        ROLLBACK;
        UPDATE celery_purge_status SET ended = UTC_TIMESTAMP(6), error = problem, backlog = NULL;
        DO RELEASE_LOCK(lock_name);
        RESIGNAL;
    END;
    IF retention IS NULL OR retention < 1 OR retention_unfinished IS NULL OR retention_unfinished < 1 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'retention and retention_unfinished must be 1 second or more.';
    END IF;
    IF batch IS NULL OR batch < 1 OR pause IS NULL OR pause < 0 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'batch must be 1 row or more, and pause 0 seconds or more.';
    END IF;
    IF COALESCE(GET_LOCK(lock_name, 0), 0) = 0 THEN
        SELECT 'Another purge is running, so this one does nothing.' AS notice;
        LEAVE removal;
    END IF;
    -- The longest text that a list of ids may have on MariaDB.
    SET SESSION group_concat_max_len = GREATEST(@@group_concat_max_len, 21 * batch);
    SET done_before = begun - INTERVAL retention SECOND;
    SET created_before = begun - INTERVAL retention_unfinished SECOND;
    SET young = GREATEST(done_before, created_before);
    SELECT walked_all IS NULL OR walked_all < begun - INTERVAL 7 DAY INTO walks_all FROM celery_purge_status;
    UPDATE celery_purge_status AS state SET
        state.started = begun, state.ended = NULL, state.removed = 0, state.error = NULL,
        state.retention = retention, state.retention_unfinished = retention_unfinished;
{walks}
    UPDATE celery_purge_status SET
        ended = UTC_TIMESTAMP(6),
        backlog = skipped,
        oldest = oldest_kept,
        walked_all = IF(walks_all, begun, walked_all);
    DO RELEASE_LOCK(lock_name);
END
"""


def upgrade(engine: str, prefix: str = "") -> list[str]:
    """The statements that make the purge, or what is missing of it; the prefix is the quoted schema with its dot."""
    moment = "timestamp" if engine == "postgresql" else "datetime(6)"
    columns = [f"{name} {kind.format(moment=moment)}" for name, kind in STATUS_COLUMNS.items()]
    key = "id smallint NOT NULL DEFAULT 1 PRIMARY KEY CHECK (id = 1)"
    table = f"{prefix}celery_purge_status"
    made = f"CREATE TABLE IF NOT EXISTS {table} ({', '.join([key, *columns])})"
    if engine == "postgresql":
        return [
            made,
            f"INSERT INTO {table} (id) VALUES (1) ON CONFLICT DO NOTHING",  # noqa: S608 - a quoted name
            _postgresql(prefix),
            f"REVOKE ALL ON PROCEDURE {prefix}celery_purge FROM PUBLIC",
        ]
    return [
        made,
        f"INSERT IGNORE INTO {table} (id) VALUES (1)",  # noqa: S608 - a quoted name
        "DROP PROCEDURE IF EXISTS celery_purge",
        _mysql(),
    ]


def downgrade(prefix: str = "") -> list[str]:
    return [f"DROP PROCEDURE IF EXISTS {prefix}celery_purge", f"DROP TABLE IF EXISTS {prefix}celery_purge_status"]


def grants(engine: str, prefix: str, account: str) -> list[str]:
    """What the purge needs, beside the use of the schema; account is quoted."""
    # To lock a row takes the right to update some column of it on PostgreSQL.
    lock = "UPDATE (created), " if engine == "postgresql" else ""
    return [
        *(f"GRANT SELECT (id, date_done, created), {lock}DELETE ON {prefix}{table} TO {account}" for table in TABLES),
        f"GRANT SELECT, UPDATE ON {prefix}celery_purge_status TO {account}",
        f"GRANT EXECUTE ON PROCEDURE {prefix}celery_purge TO {account}",
    ]


def monitor_grants(prefix: str, account: str) -> list[str]:
    """What shows the state of a store, and no result; account is quoted."""
    return [
        f"GRANT SELECT (id, status, date_done, created) ON {prefix}{TABLES[0]} TO {account}",
        f"GRANT SELECT (id, date_done, created) ON {prefix}{TABLES[1]} TO {account}",
        f"GRANT SELECT ON {prefix}celery_purge_status TO {account}",
    ]


def _postgresql(prefix: str) -> str:
    text = "'" + f"celery_purge {prefix}".replace("'", "''") + "'"
    return _POSTGRESQL.replace("{prefix}", prefix).replace("{text}", text).strip()


def _mysql() -> str:
    walks = "".join(_MYSQL_WALK.replace("{table}", table) for table in TABLES)
    return _MYSQL.replace("{walks}", walks.strip("\n")).strip()
