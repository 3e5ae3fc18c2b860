"""What tests build their worlds from: catalogs, models, a clock, a service without a transport."""
