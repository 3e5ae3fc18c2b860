from server.domain.errors import ErrorReason, Kind, OpportuneError, Violation, invalid_field


def test_reasons_that_share_a_kind_stay_distinct() -> None:
    invalid = {reason.name for reason in ErrorReason if reason.kind is Kind.INVALID_ARGUMENT}

    assert invalid >= {"MALFORMED_REQUEST", "INVALID_FIELD", "INVALID_CATALOG"}
    assert len({reason.value for reason in ErrorReason}) == len(ErrorReason)


def test_invalid_field_names_the_field_and_what_is_wrong() -> None:
    error = invalid_field("max_offers", "must not be negative")

    assert error.message == "max_offers: must not be negative"
    assert error.violations == (Violation("max_offers", "must not be negative"),)


def test_error_keeps_its_own_copy_of_metadata() -> None:
    metadata = {"placement_id": "home"}

    error = OpportuneError(ErrorReason.PLACEMENT_NOT_FOUND, "none", metadata)
    metadata["placement_id"] = "other"

    assert error.metadata == {"placement_id": "home"}
