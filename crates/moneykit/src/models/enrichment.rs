//! Enrichment: the words of categories, and how an app corrects them (`/links/{id}/transactions/{id}/enrichment`).

use serde::{Deserialize, Serialize};

use super::{AccountResponse, CursorPagination, LinkCommon, TransactionResponse};
use crate::wire::open_enum::open_enum;

/// The category a transaction is to have.
///
/// ```
/// use moneykit::models::{BudCategory, BudPrimaryCategory, BudSubcategory};
///
/// let category = BudCategory::new(BudPrimaryCategory::FoodAndDrink).subcategory(BudSubcategory::Coffee);
/// assert_eq!(category.category.as_str(), "food_and_drink");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudCategory {
    /// Category.
    pub category: BudPrimaryCategory,
    /// One of the category's subcategories.
    #[serde(default)]
    pub subcategory: Option<BudSubcategory>,
}

impl BudCategory {
    /// This category, without a subcategory.
    pub fn new(category: BudPrimaryCategory) -> Self {
        Self { category, subcategory: None }
    }

    /// Sets the subcategory.
    #[must_use]
    pub fn subcategory(mut self, subcategory: BudSubcategory) -> Self {
        self.subcategory = Some(subcategory);
        self
    }
}

/// The corrected transaction and the similar past ones that changed with it.
#[doc(alias = "ApiPublicTransactionsGetTransactionsResponse")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectEnrichmentResponse {
    /// Transactions as they are now.
    pub transactions: Vec<TransactionResponse>,
    /// The accounts of these transactions.
    pub accounts: Vec<AccountResponse>,
    /// The link they belong to.
    pub link: LinkCommon,
    /// Its `next` is `None`: there is one page.
    pub cursor: CursorPagination,
}

open_enum! {
    /// Category of a transaction.
    BudPrimaryCategory {
        /// Banking.
        Banking = "banking",
        /// Borrowing and loans.
        BorrowingAndLoans = "borrowing_and_loans",
        /// Charity.
        Charity = "charity",
        /// Dependent costs.
        DependentCosts = "dependent_costs",
        /// Education.
        Education = "education",
        /// Entertainment.
        Entertainment = "entertainment",
        /// Expenses.
        Expenses = "expenses",
        /// Food and drink.
        FoodAndDrink = "food_and_drink",
        /// Gambling and lotteries.
        GamblingAndLotteries = "gambling_and_lotteries",
        /// General.
        General = "general",
        /// Health and personal care.
        HealthAndPersonalCare = "health_and_personal_care",
        /// Home.
        Home = "home",
        /// Income.
        Income = "income",
        /// Insurance.
        Insurance = "insurance",
        /// Media and telecoms.
        MediaAndTelecoms = "media_and_telecoms",
        /// Mortgage and rent.
        MortgageAndRent = "mortgage_and_rent",
        /// Pensions savings and investments.
        PensionsSavingsAndInvestments = "pensions_savings_and_investments",
        /// Shopping.
        Shopping = "shopping",
        /// Taxes.
        Taxes = "taxes",
        /// Transfers.
        Transfers = "transfers",
        /// Transport.
        Transport = "transport",
        /// Travel.
        Travel = "travel",
        /// Utilities.
        Utilities = "utilities",
    }
}

open_enum! {
    /// Subcategory of a transaction.
    BudSubcategory {
        /// Account fees and other bank charges.
        AccountFeesAndOtherBankCharges = "account_fees_and_other_bank_charges",
        /// ATM fees.
        AtmFees = "atm_fees",
        /// Cash withdrawals.
        CashWithdrawals = "cash_withdrawals",
        /// Currency exchange and fees.
        CurrencyExchangeAndFees = "currency_exchange_and_fees",
        /// Interest.
        Interest = "interest",
        /// NSF and overdraft fees.
        NsfAndOverdraftFees = "nsf_and_overdraft_fees",
        /// Other banking.
        OtherBanking = "other_banking",
        /// Outgoing checks.
        OutgoingChecks = "outgoing_checks",
        /// Overdraft protection.
        OverdraftProtection = "overdraft_protection",
        /// Refunds and reversals.
        RefundsAndReversals = "refunds_and_reversals",
        /// Unpaid transactions.
        UnpaidTransactions = "unpaid_transactions",
        /// Buy now pay later.
        BuyNowPayLater = "buy_now_pay_later",
        /// Car payment.
        CarPayment = "car_payment",
        /// Cash advance loans.
        CashAdvanceLoans = "cash_advance_loans",
        /// Credit cards.
        CreditCards = "credit_cards",
        /// Debt management.
        DebtManagement = "debt_management",
        /// Loan incoming.
        LoanIncoming = "loan_incoming",
        /// Loan repayment.
        LoanRepayment = "loan_repayment",
        /// Other borrowing and loans.
        OtherBorrowingAndLoans = "other_borrowing_and_loans",
        /// Student loan.
        StudentLoan = "student_loan",
        /// Vehicle loan.
        VehicleLoan = "vehicle_loan",
        /// Charity.
        Charity = "charity",
        /// Other charity.
        OtherCharity = "other_charity",
        /// Child support.
        ChildSupport = "child_support",
        /// Childcare.
        Childcare = "childcare",
        /// Children's expenses.
        ChildrensExpenses = "childrens_expenses",
        /// Other dependent costs.
        OtherDependentCosts = "other_dependent_costs",
        /// Driving lessons.
        DrivingLessons = "driving_lessons",
        /// Other education.
        OtherEducation = "other_education",
        /// University and tuition.
        UniversityAndTuition = "university_and_tuition",
        /// Books and reading.
        BooksAndReading = "books_and_reading",
        /// Cinema.
        Cinema = "cinema",
        /// Gaming.
        Gaming = "gaming",
        /// Leisure and amusement activities.
        LeisureAndAmusementActivities = "leisure_and_amusement_activities",
        /// Other entertainment.
        OtherEntertainment = "other_entertainment",
        /// Other events.
        OtherEvents = "other_events",
        /// Sport events.
        SportEvents = "sport_events",
        /// Theatre concerts and tickets.
        TheatreConcertsAndTickets = "theatre_concerts_and_tickets",
        /// Business expenses.
        BusinessExpenses = "business_expenses",
        /// Financial and legal expenses.
        FinancialAndLegalExpenses = "financial_and_legal_expenses",
        /// Other expenses.
        OtherExpenses = "other_expenses",
        /// Other memberships and services.
        OtherMembershipsAndServices = "other_memberships_and_services",
        /// Postage and office supplies.
        PostageAndOfficeSupplies = "postage_and_office_supplies",
        /// Bars and pubs.
        BarsAndPubs = "bars_and_pubs",
        /// Coffee.
        Coffee = "coffee",
        /// Convenience stores.
        ConvenienceStores = "convenience_stores",
        /// Eating out and takeaways.
        EatingOutAndTakeaways = "eating_out_and_takeaways",
        /// Groceries.
        Groceries = "groceries",
        /// Other eating out.
        OtherEatingOut = "other_eating_out",
        /// Other food and drink.
        OtherFoodAndDrink = "other_food_and_drink",
        /// Speciality food and drink.
        SpecialityFoodAndDrink = "speciality_food_and_drink",
        /// Gambling and betting.
        GamblingAndBetting = "gambling_and_betting",
        /// Lotteries and sweepstakes.
        LotteriesAndSweepstakes = "lotteries_and_sweepstakes",
        /// Other gambling and lotteries.
        OtherGamblingAndLotteries = "other_gambling_and_lotteries",
        /// Other general.
        OtherGeneral = "other_general",
        /// Beauty.
        Beauty = "beauty",
        /// Dental.
        Dental = "dental",
        /// Gym and fitness.
        GymAndFitness = "gym_and_fitness",
        /// Healthcare.
        Healthcare = "healthcare",
        /// Other health and personal care.
        OtherHealthAndPersonalCare = "other_health_and_personal_care",
        /// Optical.
        Optical = "optical",
        /// Pharmacies and health products.
        PharmaciesAndHealthProducts = "pharmacies_and_health_products",
        /// Sport accessories and equipment.
        SportAccessoriesAndEquipment = "sport_accessories_and_equipment",
        /// Furniture.
        Furniture = "furniture",
        /// Gardening.
        Gardening = "gardening",
        /// Home maintenance.
        HomeMaintenance = "home_maintenance",
        /// Household goods.
        HouseholdGoods = "household_goods",
        /// Laundry.
        Laundry = "laundry",
        /// Other home.
        OtherHome = "other_home",
        /// Pets.
        Pets = "pets",
        /// Benefits and social security.
        BenefitsAndSocialSecurity = "benefits_and_social_security",
        /// Child support income.
        ChildSupportIncome = "child_support_income",
        /// Crypto platform incoming.
        CryptoPlatformIncoming = "crypto_platform_incoming",
        /// Deposits.
        Deposits = "deposits",
        /// Employment income.
        EmploymentIncome = "employment_income",
        /// Investment income.
        InvestmentIncome = "investment_income",
        /// Other income.
        OtherIncome = "other_income",
        /// Pension income.
        PensionIncome = "pension_income",
        /// Rental income.
        RentalIncome = "rental_income",
        /// Business insurance.
        BusinessInsurance = "business_insurance",
        /// Health and life insurance.
        HealthAndLifeInsurance = "health_and_life_insurance",
        /// Home insurance.
        HomeInsurance = "home_insurance",
        /// Other insurance.
        OtherInsurance = "other_insurance",
        /// Pet insurance.
        PetInsurance = "pet_insurance",
        /// Travel insurance.
        TravelInsurance = "travel_insurance",
        /// Vehicle insurance.
        VehicleInsurance = "vehicle_insurance",
        /// Broadband phone, TV.
        BroadbandPhoneTv = "broadband_phone_tv",
        /// Digital media and software.
        DigitalMediaAndSoftware = "digital_media_and_software",
        /// Other media and telecoms.
        OtherMediaAndTelecoms = "other_media_and_telecoms",
        /// TV streaming services.
        TvStreamingServices = "tv_streaming_services",
        /// Mortgage.
        Mortgage = "mortgage",
        /// Other mortgage and rent.
        OtherMortgageAndRent = "other_mortgage_and_rent",
        /// Rent.
        Rent = "rent",
        /// Crypto platform outgoing.
        CryptoPlatformOutgoing = "crypto_platform_outgoing",
        /// Investments.
        Investments = "investments",
        /// Pensions.
        Pensions = "pensions",
        /// Other pensions savings and investments.
        OtherPensionsSavingsAndInvestments = "other_pensions_savings_and_investments",
        /// Savings.
        Savings = "savings",
        /// Clothing and accessories.
        ClothingAndAccessories = "clothing_and_accessories",
        /// Department stores.
        DepartmentStores = "department_stores",
        /// Electronics appliances and technology.
        ElectronicsAppliancesAndTechnology = "electronics_appliances_and_technology",
        /// Flowers and gifts.
        FlowersAndGifts = "flowers_and_gifts",
        /// General online shopping.
        GeneralOnlineShopping = "general_online_shopping",
        /// Hobbies.
        Hobbies = "hobbies",
        /// Other shopping.
        OtherShopping = "other_shopping",
        /// Smoking and vaping.
        SmokingAndVaping = "smoking_and_vaping",
        /// Federal tax.
        FederalTax = "federal_tax",
        /// Other taxes.
        OtherTaxes = "other_taxes",
        /// Internal transfers.
        InternalTransfers = "internal_transfers",
        /// Other transfers.
        OtherTransfers = "other_transfers",
        /// Transfers in.
        TransfersIn = "transfers_in",
        /// Transfers out.
        TransfersOut = "transfers_out",
        /// Other transport.
        OtherTransport = "other_transport",
        /// Parking and tolls.
        ParkingAndTolls = "parking_and_tolls",
        /// Public transport.
        PublicTransport = "public_transport",
        /// Taxi.
        Taxi = "taxi",
        /// Vehicle.
        Vehicle = "vehicle",
        /// Vehicle fuel and charging.
        VehicleFuelAndCharging = "vehicle_fuel_and_charging",
        /// Vehicle rental.
        VehicleRental = "vehicle_rental",
        /// Petrol and vehicle charging.
        PetrolAndVehicleCharging = "petrol_and_vehicle_charging",
        /// Flights and airport expenses.
        FlightsAndAirportExpenses = "flights_and_airport_expenses",
        /// Holiday and travel expenses.
        HolidayAndTravelExpenses = "holiday_and_travel_expenses",
        /// Other travel.
        OtherTravel = "other_travel",
        /// Other utilities.
        OtherUtilities = "other_utilities",
        /// Utilities energy.
        UtilitiesEnergy = "utilities_energy",
        /// Utilities water and sewage.
        UtilitiesWaterAndSewage = "utilities_water_and_sewage",
        /// Waste and recycling.
        WasteAndRecycling = "waste_and_recycling",
    }
}
