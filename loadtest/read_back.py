"""Reading customers back after a bulk load: that they are there, with the values that were sent."""

import grpc
from opportune.v1.profile_pb2 import Profile
from opportune.v1.profile_service_pb2 import GetProfileRequest

from loadtest import bulk, population
from loadtest.schema import CUSTOMER, NUMBERS

METHOD = "/opportune.v1.ProfileService/GetProfile"
SAMPLES = 100
DEADLINE_S = 10.0


class NotKeptError(Exception):
    """A server that does not have what it acknowledged."""


def get_profile(channel: grpc.Channel, customer_id: str) -> Profile:
    """The profile of a customer."""
    get = channel.unary_unary(METHOD, GetProfileRequest.SerializeToString, Profile.FromString)
    answer: Profile = get(GetProfileRequest(customer_id=customer_id), timeout=DEADLINE_S)
    return answer


def read_back(address: str, profiles: int) -> int:
    """Compares customers from the first to the last with what `bulk` sent; returns how many.

    Raises:
        NotKeptError: one of them differs.
    """
    rows = sorted({round(share * (profiles - 1) / (SAMPLES - 1)) for share in range(SAMPLES)})
    with grpc.insecure_channel(address) as channel:
        for row in rows:
            _compare(get_profile(channel, population.customer_id(row)), row, profiles)
    return len(rows)


def _compare(profile: Profile, row: int, profiles: int) -> None:
    place, index = divmod(row, bulk.CUSTOMERS_AT_ONCE)
    size = min(bulk.CUSTOMERS_AT_ONCE, profiles - place * bulk.CUSTOMERS_AT_ONCE)
    sent = bulk.batch(place + 1, size)[index].tolist()
    kept = [profile.attributes[attribute.id].number_value for attribute in NUMBERS]
    if len(profile.attributes) != len(CUSTOMER) or kept != sent[: len(NUMBERS)]:
        raise NotKeptError(f"{profile.customer_id} does not have what was sent.")
