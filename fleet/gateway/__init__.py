"""What devices talk to: enrolment, link, sync; one ingest for both roads."""
