-- SPDX-License-Identifier: LGPL-2.1-or-later
-- SPDX-FileCopyrightText: The tdx-updated authors
-- The job database as schema version 2 wrote it, for the tests of later versions' migrations.
-- Frozen with the release that has it: a later schema gets a file of its own.
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  from_version TEXT NOT NULL, to_version TEXT NOT NULL,
  requester INTEGER NOT NULL, unit TEXT NOT NULL, why TEXT NOT NULL,
  deadline INTEGER NOT NULL, drain INTEGER NOT NULL, now INTEGER NOT NULL, ignore_activity INTEGER NOT NULL,
  state TEXT NOT NULL, result TEXT NOT NULL, error_name TEXT NOT NULL, error_text TEXT NOT NULL,
  created INTEGER NOT NULL, finished INTEGER NOT NULL, next_attempt INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  seam_hash TEXT NOT NULL, signer TEXT NOT NULL,
  have_svn_before INTEGER NOT NULL, svn_before INTEGER NOT NULL, svn_after INTEGER NOT NULL,
  evidence TEXT NOT NULL, external INTEGER NOT NULL,
  ignored_guests TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX job_finished ON job (finished);
CREATE TABLE attempt (
  job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL,
  started INTEGER NOT NULL, outcome TEXT NOT NULL, status TEXT NOT NULL, kernel_error TEXT NOT NULL,
  look_to_handover INTEGER NOT NULL, kernel INTEGER NOT NULL, verify INTEGER NOT NULL, total INTEGER NOT NULL,
  boot_id TEXT NOT NULL, stale_error TEXT NOT NULL, before_version TEXT NOT NULL,
  have_remaining INTEGER NOT NULL, remaining INTEGER NOT NULL, size INTEGER NOT NULL,
  handing_over INTEGER NOT NULL,
  looked INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE suspect (
  job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL,
  pid INTEGER NOT NULL, start_time INTEGER NOT NULL, name TEXT NOT NULL, machine TEXT NOT NULL, unit TEXT NOT NULL,
  since INTEGER NOT NULL, evidence TEXT NOT NULL,
  PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

INSERT INTO job (id, from_version, to_version, requester, unit, why, deadline, drain, now, ignore_activity, state, result,
                 error_name, error_text, created, finished, next_attempt, expires, seam_hash, signer,
                 have_svn_before, svn_before, svn_after, evidence, external, ignored_guests) VALUES
  (3, '1.5.01', '1.5.05', 0, 'session-1.scope', '', 0, 1, 0, 0, 'finished', 'success', '', '',
   1700000000000000, 1700000003000000, 0, 0,
   '1cc6a17ab799e9a693fac7536be61c12ee1e0fabada82d0c999e08ccee2aa86de77b0870f558c570e7ffe55d6d47fa04',
   'c8572f548869a0beca19376b81c2dffc2a23b5a5f71da0b87579b43f408daa1a33bad9c149eb56c634f883737968a34c',
   1, 260, 261, 'T2: every VM is past any build', 0, ''),
  (4, '1.5.05', '1.5.16', 1000, 'session-2.scope', 'it''s time', 1700003600000000, 0, 0, 1, 'waiting', '', '', '',
   1700000010000000, 0, 0, 1700003600000000, '', '', 1, 261, 267, '', 0, '4711:123456 4294967295:18446744073709551615');
INSERT INTO attempt VALUES
  (3, 1, 1700000000500000, 'success', 'transferring', '', 250, 2100000, 900, 2102000,
   '01234567-89ab-cdef-0123-456789abcdef', '', '1.5.01', 1, 10, 430080, 1, 1700000000600000),
  (4, 1, 1700000010500000, 'busy', 'transferring', 'transferring:device-busy', 300, 90000, 0, 91000,
   '01234567-89ab-cdef-0123-456789abcdef', '', '1.5.05', 1, 9, 483328, 1, 1700000010600000);
INSERT INTO suspect VALUES
  (3, 1, 4711, 123456, 'qemu-system-x86', 'qemu-9-web', 'machine-qemu\x2d9\x2dweb.scope', 1700000000700000,
   'it appeared before the update was over, and after the last look'),
  (3, 2, 4712, 0, 'cloud-hyperviso', '', '', 0, 'the probes saw its build begin before the update was over');
INSERT INTO fact VALUES ('last-version', '1.5.05 01234567-89ab-cdef-0123-456789abcdef');
PRAGMA user_version = 2;
COMMIT;
