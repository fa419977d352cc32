"""What the tests with real processes share: a place for their files."""

from tests.support.memory_files import keep_temporary_files_in_memory

keep_temporary_files_in_memory()
